package zknode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/quorumlock/redlock"
)

// mostTries bounds how often a request is made anew because others changed the
// key meanwhile. Each time one of them got on, so this takes a crowd.
const mostTries = 100

// acquire grants the key if it is free.
//
// What was seen of the key last is taken to hold still: then the grant is one
// round trip. If it does not, the server refuses, for the record's version is
// another, and the key is looked at. A key not seen before is looked at and
// created at once.
func (n *Node) acquire(c *call, req redlock.AcquireRequest) (redlock.Vote, error) {
	l := n.enter(laneID{req.Key, req.Owner})
	defer n.exit(l)
	n.asked.add(l.laneID)
	s, err := n.prepare(c.ctx, true)
	if err == nil {
		err = n.promise(req.TTL)
	}
	if err != nil {
		return redlock.Vote{}, err
	}
	n.tidy(s)
	st, known := n.recall(req.Key)
	sure := false // that the key was as st says at some time during the call
	switch {
	case l.doubt:
		st, err = n.lookClosely(s, req.Key)
		sure = true
	case l.held || st.leased || st.Aside != nil || n.released.has(l.laneID):
		st, err = n.look(s, req.Key)
	case !known:
		var vote redlock.Vote
		if vote, st, err = n.discover(c, s, l, req); vote.Granted {
			return vote, nil
		}
	}
	for range mostTries {
		if err == nil {
			err = c.live()
		}
		if err != nil {
			return redlock.Vote{}, err
		}
		vote, certain, err := n.acquireAs(c, s, l, st, req)
		if err == nil && !certain && !sure {
			// A server may lag behind the ensemble: a refusal needs certainty.
			if st, err = n.lookClosely(s, req.Key); err != nil {
				return redlock.Vote{}, err
			}
			sure = true
			continue
		}
		if !stale(err) {
			return vote, err
		}
		if s, err = n.prepare(c.ctx, true); err != nil {
			return redlock.Vote{}, err
		}
		// The server that said so has caught up with what changed the key.
		if st, err = n.look(s, req.Key); err != nil {
			return redlock.Vote{}, err
		}
		sure = true
	}
	return redlock.Vote{}, errBusy
}

// acquireAs acquires a key that is taken to be as st says. The vote is certain if it is
// right however old that is.
func (n *Node) acquireAs(c *call, s session, l *lane, st state, req redlock.AcquireRequest) (vote redlock.Vote, certain bool, err error) {
	switch {
	case st.released(req.Owner) || n.released.has(l.laneID):
		return n.refuse(s, req.Key, st), true, nil
	case st.heldBy(req.Owner):
		vote, err = n.lengthen(s, l, st, req.TTL)
	case st.holder() != nil || n.isAside(st) && st.Aside.Waiter != req.Place.Waiter:
		return n.wait(c, s, st, req)
	default:
		vote, err = n.grant(c, s, l, st, req)
	}
	return vote, true, err
}

// discover looks at a key of which nothing is known, and at the same time grants
// it as if it were new. One of the two will do.
func (n *Node) discover(c *call, s session, l *lane, req redlock.AcquireRequest) (redlock.Vote, state, error) {
	type seen struct {
		st  state
		err error
	}
	seeing := make(chan seen, 1)
	if c.live() != nil || !n.spawn(func() {
		st, err := n.read(s, req.Key)
		seeing <- seen{st, err}
	}) {
		st, err := n.look(s, req.Key)
		return redlock.Vote{}, st, err
	}
	vote, err := n.grant(c, s, l, state{}, req)
	if !stale(err) {
		return vote, state{}, err
	}
	found := <-seeing
	if found.err != nil {
		return redlock.Vote{}, state{}, found.err
	}
	return redlock.Vote{}, n.remember(req.Key, found.st), nil
}

// grant makes a grant of a free key. An error leaves it to others to find out
// whether it was made, unless the server refused.
func (n *Node) grant(c *call, s session, l *lane, st state, req redlock.AcquireRequest) (redlock.Vote, error) {
	clock, ok := n.horizon.at(n.clock.Now())
	if !ok {
		return redlock.Vote{}, errors.New("the ensemble's clock is not known yet")
	}
	hint := min(req.Hint, uint64((clock+redlock.HintHorizon)/time.Microsecond), redlock.MaxFence)
	g := &grant{
		Owner:   req.Owner,
		Fence:   max(st.Counter+1, hint),
		Session: s.name,
		TTL:     milliseconds(req.TTL),
	}
	if g.Fence > redlock.MaxFence {
		return redlock.Vote{}, errUsedUp
	}
	next := st.with(g)
	if !n.isAside(st) {
		next.Queue = nil // it is gone with what it hung on
	}
	st, err := n.write(s, req.Key, st, next, takeLease)
	if err != nil {
		if !unfulfilled(err) {
			n.suspect(l, g)
		}
		return redlock.Vote{}, err
	}
	n.served(req.Place.Waiter)
	if !c.tell() {
		// Nobody hears of this grant, so it may go at once.
		n.hold(l, g, n.clock.Now())
		_ = n.expire(l, false) // or a little later, by the timer
		return redlock.Vote{}, c.ctx.Err()
	}
	n.hold(l, g, n.clock.Now()+req.TTL)
	return n.granted(s, st), nil
}

// confirm raises the counter to a token if the grant stands.
func (n *Node) confirm(c *call, req redlock.ConfirmRequest) (redlock.Vote, error) {
	return n.ifStands(c, req.Key, req.Owner, req.Fence, func(s session, l *lane, st state) (redlock.Vote, error) {
		// What is written is dated anew, so the time left is too.
		g := *st.Grant
		g.TTL, g.From = milliseconds(n.left(l.key, st)), 0
		next := st.with(&g)
		next.Counter = max(next.Counter, req.Token)
		st, err := n.write(s, l.key, st, next, keepLease)
		return n.granted(s, st), err
	})
}

// extend makes a grant last, if it stands.
func (n *Node) extend(c *call, req redlock.ExtendRequest) (redlock.Vote, error) {
	return n.ifStands(c, req.Key, req.Owner, req.Fence, func(s session, l *lane, st state) (redlock.Vote, error) {
		if err := n.promise(req.TTL); err != nil {
			return redlock.Vote{}, err
		}
		return n.lengthen(s, l, st, req.TTL)
	})
}

// ifStands does what a grant must stand for, and refuses if it does not.
func (n *Node) ifStands(c *call, key, owner string, fence uint64, do func(session, *lane, state) (redlock.Vote, error)) (redlock.Vote, error) {
	l := n.enter(laneID{key, owner})
	defer n.exit(l)
	s, err := n.prepare(c.ctx, true)
	if err != nil {
		return redlock.Vote{}, err
	}
	st, known := n.recall(key)
	for range mostTries {
		if err := c.live(); err != nil {
			return redlock.Vote{}, err
		}
		if stands := st.heldBy(owner) && st.Grant.Fence == fence; known && stands {
			vote, err := do(s, l, st)
			if !stale(err) {
				return vote, err
			}
		} else if !known {
			if s, err = n.prepare(c.ctx, true); err != nil {
				return redlock.Vote{}, err
			}
			// A server may lag behind the ensemble: a refusal needs certainty.
			if st, err = n.lookClosely(s, key); err != nil {
				return redlock.Vote{}, err
			}
			if stands := st.heldBy(owner) && st.Grant.Fence == fence; !stands {
				return n.refuse(s, key, st), nil
			}
			known = true
			continue
		}
		known = false
	}
	return redlock.Vote{}, errBusy
}

// lengthen makes a standing grant last for at least ttl. If the lease is of
// another session, it becomes this one's, for that is the one that lives on.
func (n *Node) lengthen(s session, l *lane, st state, ttl time.Duration) (redlock.Vote, error) {
	g := *st.Grant
	g.TTL, g.From = milliseconds(max(ttl, n.left(l.key, st))), 0
	lease := keepLease
	if g.Session != s.name {
		lease, g.Session = moveLease, s.name
	}
	if !l.held || l.fence != g.Fence {
		ttl = time.Duration(g.TTL) * time.Millisecond
	}
	st, err := n.write(s, l.key, st, st.with(&g), lease)
	if err != nil {
		return redlock.Vote{}, err
	}
	n.hold(l, &g, n.clock.Now()+ttl)
	return n.granted(s, st), nil
}

// release frees the key if the owner has it, and sees to it that the owner does
// not get it any more. From now on this node sends nothing for it. What it sent
// before is answered by now, for the owner's turn has come; or it is not known
// what became of it, and then the key is written to, so that the late request
// does not fit it any more. An owner that did not ask here, but through another
// program, is entered in the key's record.
func (n *Node) release(c *call, req redlock.ReleaseRequest) error {
	id := laneID{req.Key, req.Owner}
	ours := n.asked.has(id)
	n.released.add(id)
	l := n.enter(id)
	defer n.exit(l)
	ours = ours || n.asked.has(id) || l.held || l.doubt
	if ours && !l.held && !l.doubt {
		return nil
	}
	s, err := n.prepare(c.ctx, true)
	if err != nil {
		return err
	}
	return n.clear(c.ctx, s, l, ending{bury: !ours, mine: func(g *grant) bool { return g.Owner == req.Owner }})
}

// expire ends a grant that this node made, or may have made.
func (n *Node) expire(l *lane, lapsed bool) error {
	ctx, cancel := n.clock.WithTimeout(n.life, connectWait)
	defer cancel()
	s, err := n.prepare(ctx, true)
	if err != nil {
		return err
	}
	return n.clear(ctx, s, l, ending{lapsed: lapsed, mine: func(g *grant) bool {
		return g.Owner == l.owner && g.Fence == l.fence && g.Session == l.session
	}})
}

// ending says which grant ends, and how.
type ending struct {
	mine   func(*grant) bool
	lapsed bool // by itself, and the queue with it
	bury   bool // the owner gets a tombstone, whether or not it has a grant
}

// clear ends a grant, if there is one to end.
func (n *Node) clear(ctx context.Context, s session, l *lane, e ending) error {
	st, known := n.recall(l.key)
	if g := st.holder(); !known || l.doubt || g == nil || !e.mine(g) {
		var err error
		if st, err = n.lookClosely(s, l.key); err != nil {
			return err
		}
	}
	for range mostTries {
		next, frees := st.record, false
		if g := st.holder(); g != nil && e.mine(g) {
			next, frees = st.with(nil), true
			if e.lapsed {
				next.Queue = nil
			}
		}
		if e.bury {
			clock, _ := n.horizon.at(n.clock.Now())
			next = next.bury(l.owner, clock, n.released.keep)
		}
		var err error
		if frees {
			err = n.handOn(s, l.key, st, next, dropLease)
		} else if e.bury || l.doubt {
			_, err = n.write(s, l.key, st, next, ignoreLease)
		}
		if err == nil {
			n.drop(l)
			return nil
		}
		if !stale(err) {
			return err
		}
		if s, err = n.prepare(ctx, true); err != nil {
			return err
		}
		// The server that said so has caught up with what changed the key.
		if st, err = n.look(s, l.key); err != nil {
			return err
		}
	}
	return errBusy
}

// inspect reads the key's state.
func (n *Node) inspect(c *call, key string) (redlock.NodeState, error) {
	s, err := n.prepare(c.ctx, false)
	if err != nil {
		return redlock.NodeState{}, err
	}
	asked := n.clock.Now()
	st, err := n.lookClosely(s, key)
	if err != nil {
		return redlock.NodeState{}, err
	}
	state := redlock.NodeState{
		Counter:     st.Counter,
		Incarnation: s.incarnation,
		Age:         s.age(asked),
	}
	if g := st.holder(); g != nil {
		state.Held = st.Grant != nil
		state.Owner, state.Fence, state.Remaining = g.Owner, g.Fence, n.left(key, st)
	}
	return state, nil
}

func (n *Node) granted(s session, st state) redlock.Vote {
	if st.Grant == nil {
		return redlock.Vote{}
	}
	return redlock.Vote{
		Granted:     true,
		Fence:       st.Grant.Fence,
		Counter:     st.Counter,
		Incarnation: s.incarnation,
		Age:         s.age(n.clock.Now()),
	}
}

func (n *Node) refuse(s session, key string, st state) redlock.Vote {
	vote := redlock.Vote{Counter: st.Counter, Incarnation: s.incarnation, Age: s.age(n.clock.Now())}
	if g := st.holder(); g != nil {
		vote.Holder, vote.Remaining = g.Owner, n.left(key, st)
	}
	return vote
}

// promise fails if the session may end before a grant for that long does. The
// server that hears of a session tells the leader twice a tick, and a tick is at
// most half of a session timeout: if that server dies, the leader ends the
// session up to a quarter of its timeout early.
func (n *Node) promise(ttl time.Duration) error {
	timeout := n.source.timeout()
	if most := timeout / 4 * 3; ttl > most {
		return fmt.Errorf("a TTL of %v is more than a session timeout of %v, which the server granted, can promise (%v): "+
			"raise SessionTimeout, and the servers' maxSessionTimeout if it is in the way (20 ticks by default, 40s)", ttl, timeout, most)
	}
	return nil
}

// leaseOp is what becomes of the lease as the record is written.
type leaseOp int

const (
	ignoreLease leaseOp = iota
	takeLease           // it must not be there
	keepLease           // it must be there
	moveLease           // it must be there, and becomes this session's
	dropLease           // it must be there, and goes
)

// write replaces a record that is still as st has it, does what is said to the
// lease, and what calls a waiter or readies for that; or nothing of it.
//
// A znode that was removed and made anew counts its versions from the start, so
// its version does not tell it from the one before. But a child whose name is the
// record's ID goes with the znode. The life tells of the same for all keys.
func (n *Node) write(s session, key string, st state, next record, lease leaseOp, calls ...any) (state, error) {
	path := n.keyPath(key)
	next = st.dated(next)
	made := next.ID == ""
	if made {
		next.ID = n.newID(s)[:idLength]
	}
	ops := []any{
		&zk.CheckVersionRequest{Path: n.lifePath(s.incarnation), Version: -1},
		&zk.SetDataRequest{Path: path, Data: next.encode(), Version: st.version},
		&zk.CheckVersionRequest{Path: path + "/" + next.ID, Version: -1},
	}
	if !st.exists {
		ops[1] = &zk.CreateRequest{Path: path, Data: next.encode(), Acl: n.acl}
	}
	if made {
		ops[2] = &zk.CreateRequest{Path: path + "/" + next.ID, Acl: n.acl}
	}
	leased := st.leased
	take := func() any {
		return &zk.CreateRequest{Path: leasePath(path), Data: []byte(next.Grant.Owner), Acl: n.acl, Flags: zk.FlagEphemeral}
	}
	drop := &zk.DeleteRequest{Path: leasePath(path), Version: -1}
	switch lease {
	case takeLease:
		ops, leased = append(ops, take()), true
	case keepLease:
		ops = append(ops, &zk.CheckVersionRequest{Path: leasePath(path), Version: -1})
	case moveLease:
		ops = append(ops, drop, take())
	case dropLease:
		ops, leased = append(ops, drop), false
	}
	sent := n.clock.Now()
	results, err := s.conn.Multi(append(ops, calls...)...)
	received := n.clock.Now()
	if err != nil {
		n.forget(key)
		switch failed := firstFailed(results); {
		case failed >= len(ops):
			return state{}, &callError{err}
		case failed == 0:
			n.forgetSession() // somebody removed what was prepared
		}
		return state{}, err
	}
	written := state{exists: true, leased: leased, record: next, seen: received}
	if stat := results[1].Stat; stat != nil {
		written.version, written.mtime = stat.Version, stat.Mtime
		n.horizon.wrote(stat.Mtime, sent, received)
	}
	n.remember(key, written)
	return written, nil
}

// look reads a key from the server that the session is with.
func (n *Node) look(s session, key string) (state, error) {
	st, err := n.read(s, key)
	if err != nil {
		return state{}, err
	}
	return n.remember(key, st), nil
}

func (n *Node) read(s session, key string) (state, error) {
	return n.readAt(s, n.keyPath(key))
}

func (n *Node) readAt(s session, path string) (state, error) {
	data, stat, err := s.conn.Get(path)
	if errors.Is(err, zk.ErrNoNode) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	r, err := parseRecord(data)
	if err != nil {
		return state{}, err
	}
	st := state{exists: true, version: stat.Version, mtime: stat.Mtime, record: r, seen: n.clock.Now()}
	if stat.NumChildren == 0 {
		st.ID = "" // somebody removed that child; the next write makes another
	}
	st.leased = stat.NumChildren > 1 || stat.NumChildren > 0 && st.ID == ""
	return st, nil
}

// lookClosely reads a key after the server has caught up with the ensemble.
func (n *Node) lookClosely(s session, key string) (state, error) {
	if _, err := s.conn.Sync(n.locksPath()); err != nil {
		return state{}, err
	}
	return n.look(s, key)
}
