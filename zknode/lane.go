package zknode

import (
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

// retryPause is how long after a failure the node tries again to take back what
// has to go.
const retryPause = 250 * time.Millisecond

// laneID is what one attempt has with one key.
type laneID struct{ key, owner string }

// lane puts the requests of an owner for a key in order: each waits for the one
// before. A release finds out, then, what became of the acquire before it.
//
// It also remembers what has to be ended: a grant, when its TTL is over, or a
// request whose outcome is unknown, as soon as there is a session. The fields
// are written by who has the turn, under Node.mu.
type lane struct {
	laneID
	turn  sync.Mutex
	users int

	held    bool
	fence   uint64
	session string        // as written in the grant: that or a later one of this node has the lease
	until   time.Duration // the instant after which it may be ended
	doubt   bool          // an acquire may have been carried out, or may be yet
	timer   redlock.Timer // set while held or in doubt
}

// enter waits for an owner's turn.
func (n *Node) enter(id laneID) *lane {
	n.mu.Lock()
	l := n.lanes[id]
	if l == nil {
		l = &lane{laneID: id}
		n.lanes[id] = l
	}
	l.users++
	n.mu.Unlock()
	l.turn.Lock()
	return l
}

// exit ends a turn, and forgets an owner that has nothing and does nothing.
func (n *Node) exit(l *lane) {
	n.mu.Lock()
	l.users--
	if l.users == 0 && !l.held && !l.doubt {
		delete(n.lanes, l.laneID)
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	n.mu.Unlock()
	l.turn.Unlock()
}

// hold notes a grant and when it may be ended. Nothing shortens it.
func (n *Node) hold(l *lane, g *grant, until time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.held && l.fence == g.Fence {
		until = max(until, l.until)
	} else if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.held, l.doubt = true, false
	l.fence, l.session, l.until = g.Fence, g.Session, until
	n.arm(l, until-n.clock.Now())
}

// drop notes that the owner has nothing, for certain.
func (n *Node) drop(l *lane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.held, l.doubt = false, false
}

// suspect notes that a request for a grant has an unknown outcome, to be found
// out soon.
func (n *Node) suspect(l *lane, g *grant) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.doubt, l.fence, l.session = true, g.Fence, g.Session
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	n.arm(l, retryPause)
}

// arm has the lane looked after in time; n.mu is held. A timer that is set
// already finds out by itself that there is more time.
func (n *Node) arm(l *lane, after time.Duration) {
	if l.timer == nil && !n.closed {
		id := l.laneID
		l.timer = n.clock.AfterFunc(max(0, after), func() { n.spawn(func() { n.due(id) }) })
	}
}

// due ends what has to be ended by now.
func (n *Node) due(id laneID) {
	l := n.enter(id)
	defer n.exit(l)
	if n.rearm(l) {
		return
	}
	if err := n.expire(l, !l.doubt); err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.arm(l, retryPause)
	}
}

// rearm reports whether nothing has to be ended now, and sets the next timer.
func (n *Node) rearm(l *lane) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.timer = nil
	if l.doubt || !l.held {
		return !l.doubt
	}
	left := l.until - n.clock.Now()
	if left > 0 {
		n.arm(l, left)
	}
	return left > 0
}

// left is how long a grant goes on. What others granted is reckoned by the
// ensemble's clock. A grant that should be over goes on until its client ends it
// or, if that is dead, its session ends: nobody knows when, so it is worth asking
// again soon.
func (n *Node) left(key string, st state) time.Duration {
	const soon = 250 * time.Millisecond
	g := st.holder()
	if g == nil {
		return 0
	}
	ttl := time.Duration(g.TTL) * time.Millisecond
	if ttl == 0 {
		return neverExpires
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.Now()
	left := ttl
	if l := n.lanes[laneID{key, g.Owner}]; l != nil && l.held && l.fence == g.Fence {
		left = l.until - now
	} else if clock, ok := n.horizon.at(now); ok && st.mtime > 0 {
		left = min(ttl, st.date(g.From)+ttl-clock)
	}
	if left <= 0 {
		return min(soon, ttl)
	}
	return left
}

// neverExpires is told as what remains of a lease that is not ours: it is only
// meant to keep waiters from asking again at once.
const neverExpires = 24 * time.Hour
