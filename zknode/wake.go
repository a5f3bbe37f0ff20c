package zknode

import (
	"errors"

	"github.com/go-zookeeper/zk"
	"github.com/quorumlock/redlock"
)

// watcher is a waiter whom the server may call: that is to remove the waiter's
// znode, which is ephemeral and so goes with its process too.
type watcher struct {
	key, waiter string
	wake        func()
	gone        chan struct{} // closed when it is not watched any more

	// Under Node.mu.
	placed    bool // the server may have a place or a znode for it, or something set aside
	made      bool // the znode was there when last heard of
	listening bool // a goroutine waits for it to go
}

// mostPlacings bounds how often a call tries to have a place kept while others
// change the record. The refusal is known by then and should not be late.
const mostPlacings = 4

func (n *Node) wakesPath() string { return n.root + "/wake" }

func (n *Node) wakePath(waiter string) string { return n.wakesPath() + "/" + waiter }

// Watch implements redlock.Waker. Places are kept for waiters that are watched.
func (n *Node) Watch(key, waiter string, wake func()) (stop func()) {
	w := &watcher{key: key, waiter: waiter, wake: wake, gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits[waiter] = w
	return func() {
		n.mu.Lock()
		watched, placed := n.waits[waiter] == w, w.placed
		if watched {
			delete(n.waits, waiter)
			close(w.gone)
		}
		n.mu.Unlock()
		if watched && placed {
			n.spawn(func() { _ = n.makeWay(w) })
		}
	}
}

// wait refuses an acquire, and keeps the place of its waiter or gives it up. That is
// a hint: if it fails, the refusal stands. If it is written, the key is as st says.
func (n *Node) wait(c *call, s session, st state, req redlock.AcquireRequest) (vote redlock.Vote, written bool, err error) {
	vote = n.refuse(s, req.Key, st)
	n.mu.Lock()
	w := n.waits[req.Place.Waiter]
	n.mu.Unlock()
	c.placings++
	if w == nil || w.key != req.Key || c.placings > mostPlacings {
		return vote, false, nil
	}
	if req.Place.Hold > 0 {
		vote.Queued, written, err = n.place(s, st, w, req.Place)
	} else if st.hasPlace(w.waiter) {
		_, err = n.write(s, w.key, st, st.without(w.waiter), st.kept())
		written = err == nil
	}
	if stale(err) {
		return redlock.Vote{}, false, err
	}
	return vote, written, nil
}

// place has a place kept, with a znode to be called by, and listens.
func (n *Node) place(s session, st state, w *watcher, p redlock.Place) (kept, written bool, err error) {
	next, known := st.record, st.hasPlace(w.waiter)
	if !known {
		if len(next.Queue) >= mostPlaces || st.leased && st.Grant == nil {
			return false, false, nil
		}
		next = next.enqueue(place{Waiter: p.Waiter, Since: p.Since, Hold: milliseconds(p.Hold)})
	}
	made := n.placing(w)
	if !known || !made {
		var calls []any
		if !made {
			calls = append(calls, &zk.CreateRequest{Path: n.wakePath(w.waiter), Acl: n.acl, Flags: zk.FlagEphemeral})
		}
		if _, err := n.write(s, w.key, st, next, st.kept(), calls...); err != nil {
			return false, false, n.mend(s, w, err)
		}
		written = true
	}
	n.placed(s, w)
	return true, written, nil
}

// placing notes that the server may have a place for a waiter from now on, and
// reports whether it has a znode.
func (n *Node) placing(w *watcher) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	w.placed = true
	return w.made
}

// mend sees to it that the next try does not fail in the same way.
func (n *Node) mend(s session, w *watcher, err error) error {
	var failed *callError
	switch {
	case !errors.As(err, &failed):
		return err
	case errors.Is(err, zk.ErrNodeExists): // an answer was lost
		n.mu.Lock()
		defer n.mu.Unlock()
		w.made = true
	case errors.Is(err, zk.ErrNoNode): // it is the first of all waiters
		if err := n.ensure(s.conn, n.wakesPath(), nil); err != nil {
			return err
		}
	}
	return err
}

// placed listens for the call of a waiter who has a place. One who has left
// meanwhile gives it up.
func (n *Node) placed(s session, w *watcher) {
	n.mu.Lock()
	watched, listening := n.waits[w.waiter] == w, w.listening
	w.placed, w.made, w.listening = true, true, watched
	n.mu.Unlock()
	if !watched {
		n.spawn(func() { _ = n.makeWay(w) })
	} else if !listening {
		n.spawn(func() { n.listen(s, w) })
	}
}

// served notes that a waiter got what was set aside for it, or did without; then
// its place is gone. Its znode may be there still.
func (n *Node) served(waiter string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := n.waits[waiter]; w != nil {
		w.placed = w.made
	}
}

// listen waits for a waiter's znode to go, and wakes the waiter. If the session
// ends first, the waiter may have to find out by asking by itself.
func (n *Node) listen(s session, w *watcher) {
	events, stop, err := n.source.watch(s.conn, n.wakePath(w.waiter))
	called := errors.Is(err, zk.ErrNoNode)
	if err == nil {
		select {
		case event := <-events:
			called = event.Type == zk.EventNodeDeleted
		case <-w.gone:
		case <-n.life.Done():
		}
		stop()
	}
	n.mu.Lock()
	w.made, w.listening = false, false
	n.mu.Unlock()
	if called {
		w.wake()
	}
}

// handOn frees the key. If somebody waits, it is set aside for whoever has waited
// for longest, and that one is called. A waiter whose process has hung up is
// passed over, and so is one that cannot be called.
func (n *Node) handOn(s session, key string, st state, next record, lease leaseOp) error {
	for {
		next = next.setAside()
		var calls []any
		if next.Aside != nil {
			calls = append(calls, &zk.DeleteRequest{Path: n.wakePath(next.Aside.Waiter), Version: -1})
		}
		_, err := n.write(s, key, st, next, lease, calls...)
		var failed *callError
		if !errors.As(err, &failed) {
			return err
		}
	}
}

// makeWay ends the place of a waiter who is gone, and removes its znode.
func (n *Node) makeWay(w *watcher) error {
	ctx, cancel := n.clock.WithTimeout(n.life, connectWait)
	defer cancel()
	s, err := n.prepare(ctx, true)
	if err != nil {
		return err
	}
	if err := n.leave(s, w); err != nil {
		return err
	}
	return ignore(s.conn.Delete(n.wakePath(w.waiter), -1), zk.ErrNoNode)
}

// leave takes a waiter out of the queue. What was set aside for it goes to the next.
func (n *Node) leave(s session, w *watcher) error {
	for range mostTries {
		st, err := n.lookClosely(s, w.key)
		if err != nil {
			return err
		}
		switch {
		case n.isAside(st) && st.Aside.Waiter == w.waiter:
			err = n.handOn(s, w.key, st, st.record, ignoreLease)
		case st.hasPlace(w.waiter):
			_, err = n.write(s, w.key, st, st.without(w.waiter), st.kept())
		}
		if !stale(err) {
			return err
		}
	}
	return errBusy
}
