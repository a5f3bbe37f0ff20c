package sim

import (
	"fmt"
	"slices"

	"github.com/quorumlock/redlock/internal/protocol"
)

// ExploreConfig bounds an exhaustive exploration.
type ExploreConfig struct {
	Clients    int // attempts, at most 3
	Nodes      int // at most 3
	Duplicates int // of acquires, of each attempt: they arrive once more, at any time
	Without    Defence
	MaxStates  int // default 200 million
	// Progress is told the number of states now and then.
	Progress func(states int)
}

// ExploreReport is what came of it.
type ExploreReport struct {
	States    int  // different ones, up to the order of the nodes
	Steps     int  // from one state to another
	Exhausted bool // there are no others
	Wins      int  // leases, over all paths
	Broken    string
	Story     []string // the shortest way found to what broke
}

// explored bounds the worlds that the explorer can hold.
const explored = 3

// exploration is a search through all that can happen to a few attempts of the
// protocol that ships, where any message may arrive at any time, twice or never,
// and any grant may expire at any moment. No time passes in it, so what holds
// here holds whatever clocks do: tokens differ and grow.
type exploration struct {
	cfg     ExploreConfig
	proto   protocol.Config
	seen    hashSet
	path    []move
	report  ExploreReport
	outs    []protocol.Output
	scratch []byte
}

// moveKind is what may happen next.
type moveKind uint8

const (
	start moveKind = iota
	deliverAcquire
	repeatAcquire // and leave a copy under way
	deliverVote
	deliverConfirm
	deliverStored
	expire
)

type move struct {
	kind         moveKind
	client, node int8
	which        int8 // of several answers
}

// tinyWorld is one state. Attempts in it are never changed, only replaced.
type tinyWorld struct {
	nodes    [explored]record
	clients  [explored]tinyClient
	wires    [explored][explored]wire // by client and node
	returned uint64
	broken   string
}

type tinyClient struct {
	machine *protocol.Attempt
	begun   bool
	done    bool
	token   uint64 // 0 if it did not win
	floor   uint64
	copies  int8             // that may be made yet
	owed    [explored]uint32 // the request whose answer each node owes
	op      [explored]protocol.Op
}

// wire is what is under way between a client and a node.
type wire struct {
	acquires int8
	votes    [explored + 1]uint16 // the fences of grants; sorted, 0 is none
	confirm  protocol.Request
	stored   int8 // 1 if a confirm was granted
}

// Explore tries everything that can happen within the bounds.
func Explore(cfg ExploreConfig) (ExploreReport, error) {
	if cfg.Clients < 1 || cfg.Clients > explored || cfg.Nodes < 1 || cfg.Nodes > explored || cfg.Duplicates < 0 || cfg.Duplicates > 3 {
		return ExploreReport{}, fmt.Errorf("sim: explore takes 1 to %d clients and nodes, and up to 3 duplicates", explored)
	}
	setDefault(&cfg.MaxStates, 200*million)
	world := Config{Nodes: cfg.Nodes, Without: cfg.Without, NoRenew: true}
	world.fill()
	x := exploration{cfg: cfg, proto: world.protocolConfig()}
	var first tinyWorld
	x.report.Exhausted = true
	x.visit(&first)
	x.report.States = x.seen.n
	if x.report.Broken != "" {
		x.report.Exhausted = false
		x.tell()
	}
	return x.report, nil
}

// visit goes on from a state that was not seen before.
func (x *exploration) visit(s *tinyWorld) {
	if x.report.Broken != "" || x.decided(s) || !x.seen.add(x.hash(s)) {
		return
	}
	if x.seen.n >= x.cfg.MaxStates {
		x.report.Exhausted = false
		return
	}
	if x.cfg.Progress != nil && x.seen.n%million == 0 {
		x.cfg.Progress(x.seen.n)
	}
	x.each(s, func(m move) {
		if x.report.Broken != "" {
			return
		}
		next := *s
		x.do(&next, m)
		x.report.Steps++
		x.path = append(x.path, m)
		if next.broken != "" {
			x.report.Broken = next.broken
			return
		}
		x.visit(&next)
		if x.report.Broken == "" {
			x.path = x.path[:len(x.path)-1]
		}
	})
}

// decided says that nobody can get a token any more.
func (x *exploration) decided(s *tinyWorld) bool {
	for c := range x.cfg.Clients {
		if !s.clients[c].done {
			return false
		}
	}
	return true
}

// each names all that may happen in a state.
func (x *exploration) each(s *tinyWorld, do func(move)) {
	for c := range x.cfg.Clients {
		if !s.clients[c].begun {
			do(move{kind: start, client: int8(c)})
			break // those that have not begun are all alike
		}
	}
	for c := range x.cfg.Clients {
		for n := range x.cfg.Nodes {
			w := &s.wires[c][n]
			if w.acquires > 0 {
				do(move{kind: deliverAcquire, client: int8(c), node: int8(n)})
				if s.clients[c].copies > 0 {
					do(move{kind: repeatAcquire, client: int8(c), node: int8(n)})
				}
			}
			for i, v := range w.votes {
				if v > 0 && (i == 0 || w.votes[i-1] != v) {
					do(move{kind: deliverVote, client: int8(c), node: int8(n), which: int8(i)})
				}
			}
			if w.confirm.ID != 0 {
				do(move{kind: deliverConfirm, client: int8(c), node: int8(n)})
			}
			if w.stored > 0 {
				do(move{kind: deliverStored, client: int8(c), node: int8(n)})
			}
		}
	}
	for n := range x.cfg.Nodes {
		if s.nodes[n].owner != 0 {
			do(move{kind: expire, node: int8(n)})
		}
	}
}

// do lets something happen. It reports false, and changes nothing, if it cannot.
func (x *exploration) do(s *tinyWorld, m move) bool {
	c, w := &s.clients[m.client], &s.wires[m.client][m.node]
	n := &s.nodes[m.node]
	owner := uint32(m.client) + 1
	rules := rules{without: x.cfg.Without, grain: 1, horizon: protocol.MaxToken}
	switch {
	case m.kind == start && !c.begun:
		c.begun, c.floor, c.copies = true, s.returned, int8(x.cfg.Duplicates)
		fresh := protocol.New(&x.proto)
		c.machine = &fresh
		x.step(s, int(m.client), protocol.Input{Kind: protocol.Start, TTL: x.proto.MaxTTL})
	case m.kind == repeatAcquire && w.acquires > 0 && c.copies > 0,
		m.kind == deliverAcquire && w.acquires > 0:
		if m.kind == repeatAcquire {
			c.copies--
		} else {
			w.acquires--
		}
		x.vote(c, int(m.node), w, n.apply(1, owner, false, &protocol.Request{Op: protocol.Acquire, TTL: x.proto.MaxTTL}, rules))
	case m.kind == deliverVote && w.votes[m.which] > 0:
		x.deliverVote(s, m)
	case m.kind == deliverConfirm && w.confirm.ID != 0:
		if n.apply(1, owner, false, &w.confirm, rules).granted && !c.done {
			w.stored = 1
		}
		w.confirm = protocol.Request{}
	case m.kind == deliverStored && w.stored > 0:
		w.stored = 0
		x.answer(s, m, protocol.Vote{Outcome: protocol.Granted})
	case m.kind == expire && n.owner != 0:
		n.owner, n.until = 0, 0
	default:
		return false
	}
	return true
}

// vote puts a node's answer on its way, unless nobody waits for it. Refusals are
// left out, as if they were lost: all that one can do is to make a client give up,
// and who has given up gets no token.
func (x *exploration) vote(c *tinyClient, node int, w *wire, r reply) {
	if c.done || c.op[node] != protocol.Acquire || !r.granted {
		return
	}
	v := uint16(r.fence)
	for i := range w.votes {
		if w.votes[i] == v {
			return // another copy of the same answer
		}
		if w.votes[i] == 0 {
			w.votes[i] = v
			break
		}
	}
	slices.SortFunc(w.votes[:], func(a, b uint16) int { return int(b) - int(a) })
}

// deliverVote gives a client the first answer to its acquire; others come to
// nothing.
func (x *exploration) deliverVote(s *tinyWorld, m move) {
	w := &s.wires[m.client][m.node]
	v := w.votes[m.which]
	w.votes = [explored + 1]uint16{}
	x.answer(s, m, protocol.Vote{Outcome: protocol.Granted, Fence: uint64(v)})
}

func (x *exploration) answer(s *tinyWorld, m move, vote protocol.Vote) {
	c := &s.clients[m.client]
	op := c.op[m.node]
	c.op[m.node] = 0
	x.step(s, int(m.client), protocol.Input{Kind: protocol.Voted, Node: int(m.node), Request: c.owed[m.node], Op: op, Vote: vote})
}

// step feeds an input to a copy of the client's machine.
func (x *exploration) step(s *tinyWorld, client int, in protocol.Input) {
	c := &s.clients[client]
	machine := c.machine.Clone()
	c.machine = &machine
	x.outs = machine.Step(1, in, x.outs[:0])
	for i := range x.outs {
		switch out := &x.outs[i]; out.Kind {
		case protocol.Send:
			x.send(s, client, out.Node, out.Request)
		case protocol.Won:
			x.won(s, client, out.Token)
		case protocol.Failed:
			x.finish(s, client)
		}
	}
}

// send puts a request on its way. Releases are left out: that a grant ends is one
// of the things that can happen at any moment anyway.
func (x *exploration) send(s *tinyWorld, client, node int, req protocol.Request) {
	c, w := &s.clients[client], &s.wires[client][node]
	switch req.Op {
	case protocol.Acquire:
		w.acquires = 1
	case protocol.Confirm:
		w.confirm = req
	default:
		return
	}
	c.owed[node], c.op[node] = req.ID, req.Op
}

func (x *exploration) won(s *tinyWorld, client int, token uint64) {
	c := &s.clients[client]
	c.token = token
	x.report.Wins++
	if token <= c.floor {
		s.broken = fmt.Sprintf("%s got token %d, but %d had been returned before it began", name("c", client), token, c.floor)
	}
	for i := range x.cfg.Clients {
		if i != client && s.clients[i].token == token {
			s.broken = fmt.Sprintf("%s and %s both got token %d", name("c", i), name("c", client), token)
		}
	}
	s.returned = max(s.returned, token)
	x.finish(s, client)
}

// finish ends a client: what it still asked of nodes may arrive, but it hears of
// nothing any more.
func (x *exploration) finish(s *tinyWorld, client int) {
	c := &s.clients[client]
	c.done, c.machine = true, nil
	c.op, c.owed = [explored]protocol.Op{}, [explored]uint32{}
	for n := range x.cfg.Nodes {
		w := &s.wires[client][n]
		w.votes, w.stored = [explored + 1]uint16{}, 0
	}
}

// hash is the same for states that differ only in the order of the nodes: each
// node's part is hashed by itself, and the parts are sorted.
func (x *exploration) hash(s *tinyWorld) uint64 {
	h := mix(1, s.returned)
	for c := range x.cfg.Clients {
		k := &s.clients[c]
		h = mix(mix(h, b2u(k.begun)<<1|b2u(k.done)|uint64(k.copies)<<2), k.token<<32|k.floor)
		if k.machine != nil {
			x.scratch = k.machine.AppendState(x.scratch[:0])
			h = hashBytes(h, x.scratch)
		}
	}
	var parts [explored]uint64
	for n := range x.cfg.Nodes {
		parts[n] = x.hashNode(s, n)
	}
	slices.Sort(parts[:])
	for _, p := range parts {
		h = mix(h, p)
	}
	return h
}

func (x *exploration) hashNode(s *tinyWorld, n int) uint64 {
	r := &s.nodes[n]
	// Of a grant that ended nothing matters but the counter.
	h := mix(2, r.counter)
	if r.owner != 0 {
		h = mix(mix(h, uint64(r.owner)), r.fence)
	}
	for c := range x.cfg.Clients {
		w := &s.wires[c][n]
		h = mix(h, uint64(w.acquires)|uint64(w.stored)<<8|uint64(w.votes[0])<<16|uint64(w.votes[1])<<32|uint64(w.votes[2])<<48)
		h = mix(h, uint64(w.votes[3])|w.confirm.Fence<<16|w.confirm.Token<<32)
		if m := s.clients[c].machine; m != nil {
			x.scratch = m.AppendSeat(x.scratch[:0], n)
			h = hashBytes(h, x.scratch)
		}
	}
	return h
}

func hashBytes(h uint64, b []byte) uint64 {
	for len(b) >= 8 {
		h = mix(h, uint64(b[0])|uint64(b[1])<<8|uint64(b[2])<<16|uint64(b[3])<<24|
			uint64(b[4])<<32|uint64(b[5])<<40|uint64(b[6])<<48|uint64(b[7])<<56)
		b = b[8:]
	}
	for _, x := range b {
		h = mix(h, uint64(x))
	}
	return h
}

// tell makes the way to what broke as short as leaving out moves makes it, and
// puts it in words.
func (x *exploration) tell() {
	path := slices.Clone(x.path)
	for i := len(path) - 1; i >= 0; i-- {
		shorter := slices.Delete(slices.Clone(path), i, i+1)
		if _, broken := x.replay(shorter); broken != "" {
			path, x.report.Broken = shorter, broken
			i = min(i, len(path))
		}
	}
	x.report.Story, _ = x.replay(path)
}

// replay goes along a path, leaves out what cannot happen, and tells of it.
func (x *exploration) replay(path []move) (story []string, broken string) {
	var s tinyWorld
	for _, m := range path {
		before := s
		if !x.do(&s, m) {
			return story, ""
		}
		story = append(story, tellMove(&before, &s, m))
		if s.broken != "" {
			return append(story, s.broken), s.broken
		}
	}
	return story, ""
}

func tellMove(before, after *tinyWorld, m move) string {
	c, n := name("c", int(m.client)), name("n", int(m.node))
	r := &after.nodes[m.node]
	var text string
	switch m.kind {
	case start:
		text = c + " asks all nodes"
	case deliverAcquire, repeatAcquire:
		switch {
		case r.owner != uint32(m.client)+1:
			text = fmt.Sprintf("%s refuses %s", n, c)
		case m.kind == deliverAcquire:
			text = fmt.Sprintf("%s grants to %s with fence %d", n, c, r.fence)
		default:
			text = fmt.Sprintf("%s grants to %s with fence %d; a copy of the request is still under way", n, c, r.fence)
		}
	case deliverVote:
		text = fmt.Sprintf("%s hears from %s", c, n)
	case deliverConfirm:
		verb := "refuses"
		if after.wires[m.client][m.node].stored == 1 {
			verb = "accepts"
		}
		text = fmt.Sprintf("%s %s %s's confirm of token %d", n, verb, c, before.wires[m.client][m.node].confirm.Token)
	case deliverStored:
		text = fmt.Sprintf("%s hears from %s of its confirm", c, n)
	case expire:
		text = fmt.Sprintf("%s's grant to %s expires", n, name("c", int(before.nodes[m.node].owner)-1))
	}
	if t := after.clients[m.client].token; t != 0 && before.clients[m.client].token == 0 {
		text += fmt.Sprintf(", and has the lock with token %d", t)
	}
	return text
}

// hashSet is an open-addressed set of hashes: a tenth of the memory of a map.
type hashSet struct {
	slots []uint64
	n     int
}

// add reports whether h is new.
func (s *hashSet) add(h uint64) bool {
	if 4*s.n >= 3*len(s.slots) {
		s.grow()
	}
	if h == 0 {
		h = 1
	}
	mask := uint64(len(s.slots) - 1)
	for i := h * 0x9E3779B97F4A7C15 >> 20 & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			s.slots[i] = h
			s.n++
			return true
		case h:
			return false
		}
	}
}

func (s *hashSet) grow() {
	old := s.slots
	s.slots = make([]uint64, max(1<<16, 2*len(old)))
	s.n = 0
	for _, h := range old {
		if h != 0 {
			s.add(h)
		}
	}
}
