package sim

import (
	"fmt"
	"slices"

	"github.com/quorumlock/redlock/internal/protocol"
)

// tinyWorld is one state of an exploration. Attempts in it are never changed, only
// replaced.
//
// Many orders of events come to the same thing, and only one of them is tried.
// Nothing is missed, because for each order that is left out one that is tried
// has the same leases, with the same tokens:
//
//   - What does nothing is left out: it is as good as a message that is lost, and
//     any message may never arrive. A refused acquire can only make its attempt
//     give up; a refused confirm, a second copy of a confirm, or a copy of an
//     acquire that finds its own grant changes nothing. Releases end grants, and
//     those may end at any time anyway.
//   - A grant ends just before the next one is made. Until then all that can tell
//     is whether its confirm is accepted, and that may also never arrive.
//   - Answers reach an attempt together, at the last moment: just before the one
//     that makes it do something, such as send confirms or win. Those before it
//     change nothing that others could see.
//   - An attempt starts in the beginning, or as soon as another has won. Its
//     requests may take as long as they like; only what has been returned before
//     it began matters.
//   - Of a grant whose owner cannot confirm it any more nothing matters but the
//     counter; of an attempt that ended, only its token, and the requests that
//     may still arrive.
//   - Nodes and attempts are alike, so states are the same that differ only in
//     their order.
type tinyWorld struct {
	nodes    [explored]tinyNode
	clients  [explored]tinyClient
	wires    [explored][explored]wire // by client and node
	returned uint64
	hint     uint64 // of attempts that begin from now on
	mayStart bool
	amnesias int8 // that may happen yet
	broken   string
}

type tinyNode struct {
	record
	young bool // it lost what it knew, and is not counted
}

type tinyClient struct {
	machine *protocol.Attempt
	begun   bool
	done    bool
	copies  int8   // that may be made yet
	token   uint64 // 0 if it did not win
	floor   uint64
	hint    uint64
	owed    [explored]uint32 // the request whose answer each node owes
	op      [explored]protocol.Op
}

// wire is what is under way between a client and a node.
type wire struct {
	acquires     int8
	stored       bool                // a confirm was granted
	votes        [explored + 1]uint8 // the fences of grants; the largest first, 0 is none
	confirm      bool
	fence, token uint8 // of the confirm
}

// moveKind is what may happen next.
type moveKind uint8

const (
	start     moveKind = iota
	deliver            // an acquire
	repeat             // an acquire, and a copy stays under way
	deliverOK          // a confirm that is accepted
	hear               // answers
	forget             // a node loses all it knows
	comeOfAge          // a node is counted again
)

type move struct {
	kind         moveKind
	client, node int8
	ahead        int8 // of an attempt's hint
	answers      int8
	from         [explored]int8  // the nodes whose answers are heard
	fences       [explored]uint8 // of grants; 0 for an accepted confirm
}

// successors gives every move that a state allows, and the state after it.
func (x *exploration) successors(s *tinyWorld, yield func(move, *tinyWorld)) {
	try := func(m move) {
		next := *s
		if x.do(&next, m) {
			yield(m, &next)
		}
	}
	if c := slices.IndexFunc(s.clients[:x.cfg.Clients], func(c tinyClient) bool { return !c.begun }); c >= 0 && s.mayStart {
		// Those that have not begun are all alike.
		try(move{kind: start, client: int8(c)})
		if x.cfg.Ahead > 0 {
			try(move{kind: start, client: int8(c), ahead: int8(x.cfg.Ahead)})
		}
	}
	for c := range x.cfg.Clients {
		for n := range x.cfg.Nodes {
			at := move{client: int8(c), node: int8(n)}
			w := &s.wires[c][n]
			if w.acquires > 0 {
				at.kind = deliver
				try(at)
				at.kind = repeat
				try(at)
			}
			if w.confirm {
				at.kind = deliverOK
				try(at)
			}
		}
		if k := &s.clients[c]; k.begun && !k.done {
			x.hearing(s, move{kind: hear, client: int8(c)}, yield)
		}
	}
	for n := range x.cfg.Nodes {
		if s.nodes[n].young {
			try(move{kind: comeOfAge, node: int8(n)})
		} else if s.amnesias > 0 {
			try(move{kind: forget, node: int8(n)})
		}
	}
}

// hearing gives all ways to hear more answers until one of them shows.
func (x *exploration) hearing(s *tinyWorld, m move, yield func(move, *tinyWorld)) {
	c := &s.clients[m.client]
	for n := range x.cfg.Nodes {
		w := &s.wires[m.client][n]
		try := func(fence uint8) {
			next, longer := *s, m
			longer.from[m.answers], longer.fences[m.answers] = int8(n), fence
			longer.answers++
			if x.listen(&next, m.client, int8(n), fence); x.told {
				x.tidy(&next)
				yield(longer, &next)
			} else if longer.answers < explored {
				x.hearing(&next, longer, yield)
			}
		}
		switch {
		case c.op[n] == protocol.Acquire:
			for i, v := range w.votes {
				if v > 0 && (i == 0 || w.votes[i-1] != v) {
					try(v)
				}
			}
		case c.op[n] == protocol.Confirm && w.stored:
			try(0)
		}
	}
}

// do lets something happen. It reports false if it cannot, or comes to nothing.
func (x *exploration) do(s *tinyWorld, m move) bool {
	done := x.happen(s, m)
	x.tidy(s)
	return done
}

func (x *exploration) happen(s *tinyWorld, m move) bool {
	if m.kind == start {
		return s.mayStart && x.start(s, int(m.client), m.ahead)
	}
	s.mayStart = false
	c, w, n := &s.clients[m.client], &s.wires[m.client][m.node], &s.nodes[m.node]
	switch m.kind {
	case deliver, repeat:
		if w.acquires == 0 || m.kind == repeat && c.copies == 0 {
			return false
		}
		if m.kind == repeat {
			c.copies--
		} else {
			w.acquires--
		}
		n.owner, n.until = 0, 0
		x.acquire(s, m)
	case deliverOK:
		return w.confirm && x.confirm(s, m)
	case hear:
		for i := range m.answers {
			if !x.listen(s, m.client, m.from[i], m.fences[i]) {
				return false
			}
		}
	case forget:
		if s.amnesias == 0 {
			return false
		}
		s.amnesias--
		*n = tinyNode{young: !x.cfg.Without.Has(RestartGuard)}
	case comeOfAge:
		if !n.young {
			return false
		}
		n.young = false
		x.newEpoch(s)
	}
	return true
}

func (x *exploration) start(s *tinyWorld, client int, ahead int8) bool {
	c := &s.clients[client]
	if c.begun {
		return false
	}
	c.begun, c.floor, c.copies, c.hint = true, s.returned, int8(x.cfg.Duplicates), s.hint+uint64(ahead)
	fresh := protocol.New(&x.proto)
	c.machine = &fresh
	x.step(s, client, protocol.Input{Kind: protocol.Start, TTL: x.proto.MaxTTL, Hint: c.hint})
	return true
}

// acquire lets a node handle an acquire, and puts its grant on the way, unless
// nobody waits for it.
func (x *exploration) acquire(s *tinyWorld, m move) {
	c, w, n := &s.clients[m.client], &s.wires[m.client][m.node], &s.nodes[m.node]
	r := n.apply(1, uint32(m.client)+1, false, &protocol.Request{Op: protocol.Acquire, TTL: x.proto.MaxTTL, Hint: c.hint}, x.rules)
	if !r.granted || n.young || c.done || c.op[m.node] != protocol.Acquire || slices.Contains(w.votes[:], uint8(r.fence)) {
		return
	}
	w.votes[explored] = uint8(r.fence) // the last is free: there are at most as many as copies
	slices.SortFunc(w.votes[:], func(a, b uint8) int { return int(b) - int(a) })
}

func (x *exploration) confirm(s *tinyWorld, m move) bool {
	w, n := &s.wires[m.client][m.node], &s.nodes[m.node]
	req := protocol.Request{Op: protocol.Confirm, Fence: uint64(w.fence), Token: uint64(w.token)}
	if !n.apply(1, uint32(m.client)+1, false, &req, x.rules).granted {
		return false
	}
	w.confirm, w.fence, w.token = false, 0, 0
	w.stored = !s.clients[m.client].done && !n.young
	return true
}

// newEpoch is what is assumed of a node that came of age: whatever began before
// it lost its grants is over, and later hints are above the counters of that time.
func (x *exploration) newEpoch(s *tinyWorld) {
	for c := range x.cfg.Clients {
		if s.clients[c].begun && !s.clients[c].done {
			x.finish(s, c)
		}
	}
	s.mayStart = true
	if x.cfg.Without.Has(HintFromClock) {
		return
	}
	largest := s.returned
	for n := range x.cfg.Nodes {
		largest = max(largest, s.nodes[n].counter)
		for c := range x.cfg.Clients {
			largest = max(largest, uint64(s.wires[c][n].token))
		}
	}
	s.hint = largest + 1
}

// listen gives a client the answer of a node: to its acquire, of which the first
// counts and others come to nothing, or to its confirm.
func (x *exploration) listen(s *tinyWorld, client, node int8, fence uint8) bool {
	c, w := &s.clients[client], &s.wires[client][node]
	op := c.op[node]
	switch {
	case op == protocol.Acquire && fence > 0 && slices.Contains(w.votes[:], fence):
		w.votes = [explored + 1]uint8{}
	case op == protocol.Confirm && fence == 0 && w.stored:
		w.stored = false
	default:
		return false
	}
	c.op[node] = 0
	x.step(s, int(client), protocol.Input{Kind: protocol.Voted, Node: int(node), Request: c.owed[node], Op: op,
		Vote: protocol.Vote{Outcome: protocol.Granted, Fence: uint64(fence)}})
	return true
}

// step feeds an input to a copy of the client's machine.
func (x *exploration) step(s *tinyWorld, client int, in protocol.Input) {
	c := &s.clients[client]
	machine := c.machine.Clone()
	c.machine = &machine
	x.outs = machine.Step(1, in, x.outs[:0])
	x.told = false
	for i := range x.outs {
		switch out := &x.outs[i]; out.Kind {
		case protocol.Send:
			x.send(s, client, out.Node, &out.Request)
		case protocol.Won:
			x.won(s, client, out.Token)
		case protocol.Failed:
			x.told = true
			x.finish(s, client)
		}
	}
}

// send puts a request on its way. Releases are left out: that a grant ends is one
// of the things that can happen at any moment anyway.
func (x *exploration) send(s *tinyWorld, client, node int, req *protocol.Request) {
	c, w := &s.clients[client], &s.wires[client][node]
	switch req.Op {
	case protocol.Acquire:
		w.acquires = 1
	case protocol.Confirm:
		w.confirm, w.fence, w.token = true, uint8(req.Fence), uint8(req.Token)
	default:
		return
	}
	x.told = true
	c.owed[node], c.op[node] = req.ID, req.Op
}

func (x *exploration) won(s *tinyWorld, client int, token uint64) {
	x.told = true
	x.report.Wins++
	c := &s.clients[client]
	c.token = token
	if token <= c.floor {
		s.broken = fmt.Sprintf("%s got token %d, but %d had been returned before it began", name("c", client), token, c.floor)
	}
	for i := range x.cfg.Clients {
		if i != client && s.clients[i].token == token {
			s.broken = fmt.Sprintf("%s and %s both got token %d", name("c", i), name("c", client), token)
		}
	}
	if x.outcomes != nil {
		x.outcomes[s.outcome(client)] = true
	}
	s.returned = max(s.returned, token)
	s.mayStart = true
	x.finish(s, client)
}

// outcome is the tokens so far, and what the latest winner's had to be above.
func (s *tinyWorld) outcome(client int) string {
	var tokens []uint64
	for i := range s.clients {
		tokens = append(tokens, s.clients[i].token)
	}
	slices.Sort(tokens)
	return fmt.Sprint(tokens, s.clients[client].token, s.clients[client].floor)
}

// finish ends a client: what it still asked of nodes may arrive, but it hears of
// nothing any more.
func (x *exploration) finish(s *tinyWorld, client int) {
	c := &s.clients[client]
	c.done, c.machine = true, nil
	c.op, c.owed = [explored]protocol.Op{}, [explored]uint32{}
	for n := range x.cfg.Nodes {
		w := &s.wires[client][n]
		w.votes, w.stored = [explored + 1]uint8{}, false
	}
}

// tidy forgets what cannot matter any more.
func (x *exploration) tidy(s *tinyWorld) {
	for c := range x.cfg.Clients {
		if k := &s.clients[c]; k.done && !slices.ContainsFunc(s.wires[c][:], func(w wire) bool { return w.acquires > 0 }) {
			k.copies, k.hint = 0, 0
		}
	}
	for i := range x.cfg.Nodes {
		n := &s.nodes[i]
		if n.owner == 0 {
			continue
		}
		c, w := &s.clients[n.owner-1], &s.wires[n.owner-1][i]
		// A confirm is under way, or will be once the grant is heard of.
		if w.confirm || c.op[i] == protocol.Acquire {
			continue
		}
		n.owner, n.fence, n.until = 0, 0, 0
	}
}

// settled says that nobody can get a token any more.
func (x *exploration) settled(s *tinyWorld) bool {
	another := s.mayStart || s.amnesias > 0
	for n := range x.cfg.Nodes {
		another = another || s.nodes[n].young
	}
	for c := range x.cfg.Clients {
		if k := &s.clients[c]; k.begun && !k.done || !k.begun && another {
			return false
		}
	}
	return true
}
