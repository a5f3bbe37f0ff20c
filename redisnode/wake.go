package redisnode

import (
	"time"

	"github.com/quorumlock/redlock"
)

var _ redlock.Waker = (*Node)(nil)

// watcher is a waiter whom the server may call.
type watcher struct {
	wake   func()
	placed bool // the server may have a place for it, or something set aside
}

// Watch implements redlock.Waker. A node without a stream never calls.
func (n *Node) Watch(key, waiter string, wake func()) (stop func()) {
	s := n.stream
	if s == nil {
		return func() {}
	}
	s.wakesMu.Lock()
	defer s.wakesMu.Unlock()
	s.wakes[waiter] = &watcher{wake: wake}
	return func() {
		s.wakesMu.Lock()
		w := s.wakes[waiter]
		delete(s.wakes, waiter)
		s.wakesMu.Unlock()
		if w != nil && w.placed {
			s.makeWay(key, waiter)
		}
	}
}

// called is told of a message: a waiter's id and the name of the lock that was
// set aside for it. One that is gone may be on its way to take it still: it won by
// the calls of other nodes.
func (s *stream) called(message string, answered int) {
	if len(message) <= redlock.WaiterLength {
		return
	}
	waiter, lock := message[:redlock.WaiterLength], message[redlock.WaiterLength:]
	s.wakesMu.Lock()
	w := s.wakes[waiter]
	s.wakesMu.Unlock()
	if w != nil {
		w.wake()
		return
	}
	s.mu.Lock()
	takes := s.anyFrom(s.next+answered, func(call *redlock.Call) bool {
		return call.Op == redlock.OpAcquire && call.Place.Waiter == waiter && call.Place.Hold == 0
	})
	s.mu.Unlock()
	if key, ok := keyOf(s.node.prefix, lock); ok && !takes {
		s.makeWay(key, waiter)
	}
}

// place notes whether the server has a place for a waiter, and gives it up if the
// waiter is gone. What a call does to it counts from when it is submitted if it
// gives the place up, and else from when it is answered.
func (s *stream) place(call *redlock.Call, placed bool) {
	waiter := call.Place.Waiter
	s.wakesMu.Lock()
	w := s.wakes[waiter]
	if w != nil {
		w.placed = placed
	}
	s.wakesMu.Unlock()
	if w == nil && placed {
		s.makeWay(call.Key, waiter)
	}
}

// makeWay ends the place of a waiter who is gone. What was set aside for it goes to
// the next.
func (s *stream) makeWay(key, waiter string) {
	s.submit(&redlock.Call{Op: redlock.OpRelease, Key: key, Owner: setAside + waiter,
		Timeout: time.Second, Ordered: true, Wake: true, Done: func(*redlock.Call) {}})
}

// setAside begins the owner of a key that is set aside for a waiter.
const setAside = "~"
