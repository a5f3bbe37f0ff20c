package protocol

import "time"

const nobody = -1

// worldNode is a node by the letter of the contract on redlock.Node, for one
// key. The checker keeps its own notes on it, which survive a restart.
type worldNode struct {
	world *world
	id    int
	clock worldClock

	owner   int
	fence   uint64
	until   Instant // on the node's clock
	counter uint64
	tombs   map[int]bool
	life    int     // restarts
	born    Instant // when data was lost last

	downUntil trueTime
	cut       [8]trueTime // by client

	notes nodeNotes
}

func (n *worldNode) now() Instant { return n.clock.read(n.world.now) }

func (n *worldNode) stands() bool { return n.owner != nobody && n.now() < n.until }

func (n *worldNode) standsFor(owner int, fence uint64) bool {
	return n.stands() && n.owner == owner && n.fence == fence
}

// restart loses everything.
func (n *worldNode) restart() {
	n.world.trace.add(n.world, "node %d loses its data", n.id)
	n.owner, n.fence, n.until, n.counter = nobody, 0, 0, 0
	n.tombs = map[int]bool{}
	n.life++
	n.born = n.now()
	n.notes.lost(n)
}

func (n *worldNode) unreachable(c *worldClient) bool {
	return n.downUntil > n.world.now || n.cut[c.id%len(n.cut)] > n.world.now
}

// handle does what a request asks. repeated says that it arrives twice.
func (n *worldNode) handle(owner int, req Request, repeated bool) Vote {
	v := Vote{Outcome: Refused}
	switch req.Op {
	case Acquire:
		v = n.acquire(owner, req, repeated)
	case Confirm:
		if n.standsFor(owner, req.Fence) {
			n.counter = max(n.counter, req.Token)
			n.notes.store(owner, req.Token)
			v = Vote{Outcome: Granted, Fence: n.fence}
		}
	case Extend:
		if n.standsFor(owner, req.Fence) {
			n.lengthen(req.TTL)
			v = Vote{Outcome: Granted, Fence: n.fence}
		}
	case Release:
		n.tombs[owner] = true
		n.notes.released[owner] = n.life
		if n.owner == owner {
			n.owner = nobody
		}
		v = Vote{Outcome: Granted}
	}
	v.Counter = n.counter
	n.world.trace.add(n.world, "node %d: %v of %d: %v, fence %d, counter %d, repeated %v", n.id, req.Op, owner, v.Outcome, v.Fence, v.Counter, repeated)
	return v
}

func (n *worldNode) acquire(owner int, req Request, repeated bool) Vote {
	switch {
	case n.stands() && n.owner == owner:
		n.lengthen(req.TTL)
	case n.stands():
		return Vote{Outcome: Refused, Remaining: n.until.Sub(n.now())}
	case n.tombs[owner] && !n.world.mutant.noTombs:
		return Vote{Outcome: Refused}
	default:
		n.owner, n.until = owner, 0
		n.counter = max(n.counter+1, req.Hint)
		n.fence = n.counter
		n.lengthen(req.TTL)
		n.notes.store(owner, n.fence)
		n.notes.byRepeat = repeated
		n.world.checker.granted(n)
	}
	return Vote{Outcome: Granted, Fence: n.fence}
}

func (n *worldNode) lengthen(ttl time.Duration) { n.until = max(n.until, n.now().Add(ttl)) }

func (n *worldNode) facts() Facts {
	f := Facts{Incarnation: string(rune('a'+n.id)) + string(rune('0'+n.life%1000)), Clock: int64(n.now())}
	if n.life > 0 {
		f.Age = max(1, n.now().Sub(n.born))
	}
	return f
}

// nodeNotes are the checker's.
type nodeNotes struct {
	stored   map[int]map[uint64]bool // by owner: tokens that were the counter under its grant
	released map[int]int             // by owner: the life in which a release was handled, latest
	byRepeat bool                    // the present grant was made by a repeated request
	lostAt   trueTime                // zero for never
}

func newNodeNotes() nodeNotes {
	return nodeNotes{stored: map[int]map[uint64]bool{}, released: map[int]int{}}
}

func (s *nodeNotes) store(owner int, token uint64) {
	if s.stored[owner] == nil {
		s.stored[owner] = map[uint64]bool{}
	}
	s.stored[owner][token] = true
}

func (s *nodeNotes) lost(n *worldNode) { s.lostAt = n.world.now }
