package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/protocol"
)

// plain explores without any of the shortcuts that tinyWorld tells of: grants
// expire at any time, refusals are made and heard, every answer is heard by itself,
// confirms arrive twice, attempts begin at any time, and states are the same only
// if they are.
type plain struct{ *exploration }

const refusal = 255 // in the place of a fence

func newPlain(cfg ExploreConfig) *exploration {
	x := newExploration(cfg)
	x.next, x.hash = plain{x}.successors, plain{x}.key
	return x
}

func (x plain) successors(s *tinyWorld, yield func(move, *tinyWorld)) {
	try := func(do func(next *tinyWorld)) {
		next := *s
		next.mayStart = true
		do(&next)
		next.mayStart = true
		yield(move{}, &next)
	}
	for c := range x.cfg.Clients {
		if !s.clients[c].begun {
			try(func(next *tinyWorld) { x.start(next, c, 0) })
			try(func(next *tinyWorld) { x.start(next, c, int8(x.cfg.Ahead)) })
		}
		for n := range x.cfg.Nodes {
			w := &s.wires[c][n]
			if w.acquires > 0 {
				try(func(next *tinyWorld) {
					next.wires[c][n].acquires--
					x.acquire(next, c, n)
				})
				if s.clients[c].copies > 0 {
					try(func(next *tinyWorld) {
						next.clients[c].copies--
						x.acquire(next, c, n)
					})
				}
			}
			if w.confirm {
				try(func(next *tinyWorld) { x.confirm(next, c, n) })
				try(func(next *tinyWorld) {
					x.confirm(next, c, n)
					again := &next.wires[c][n]
					again.confirm, again.fence, again.token = true, w.fence, w.token
				})
			}
			for i, v := range w.votes {
				if v > 0 && (i == 0 || w.votes[i-1] != v) {
					try(func(next *tinyWorld) { x.hear(next, c, n, v) })
				}
			}
			if w.stored {
				try(func(next *tinyWorld) { x.hear(next, c, n, 0) })
			}
		}
	}
	for n := range x.cfg.Nodes {
		if s.nodes[n].owner != 0 {
			try(func(next *tinyWorld) { next.nodes[n].owner, next.nodes[n].until = 0, 0 })
		}
		if s.nodes[n].young {
			try(func(next *tinyWorld) {
				next.nodes[n].young = false
				x.newEpoch(next)
			})
		}
		if s.amnesias > 0 {
			try(func(next *tinyWorld) {
				next.amnesias--
				next.nodes[n] = tinyNode{young: !x.cfg.Without.Has(RestartGuard)}
			})
		}
	}
}

func (x plain) acquire(s *tinyWorld, client, node int) {
	c, n := &s.clients[client], &s.nodes[node]
	r := n.apply(1, uint32(client)+1, false, &protocol.Request{Op: protocol.Acquire, TTL: x.proto.MaxTTL, Hint: c.hint}, x.rules)
	if c.op[node] != protocol.Acquire || n.young {
		return
	}
	if r.granted {
		x.put(s, client, node, uint8(r.fence))
	} else {
		x.put(s, client, node, refusal)
	}
}

func (x plain) put(s *tinyWorld, client, node int, vote uint8) {
	w := &s.wires[client][node]
	if !slices.Contains(w.votes[:], vote) {
		if w.votes[explored] != 0 {
			panic("there is room for the answers to two duplicates and a refusal")
		}
		w.votes[explored] = vote
		slices.SortFunc(w.votes[:], func(a, b uint8) int { return int(b) - int(a) })
	}
}

func (x plain) confirm(s *tinyWorld, client, node int) {
	w := &s.wires[client][node]
	req := protocol.Request{Op: protocol.Confirm, Fence: uint64(w.fence), Token: uint64(w.token)}
	ok := s.nodes[node].apply(1, uint32(client)+1, false, &req, x.rules).granted
	w.confirm, w.fence, w.token = false, 0, 0
	switch {
	case s.clients[client].op[node] != protocol.Confirm || s.nodes[node].young:
	case ok:
		w.stored = true
	default:
		x.put(s, client, node, refusal)
	}
}

func (x plain) hear(s *tinyWorld, client, node int, fence uint8) {
	c, w := &s.clients[client], &s.wires[client][node]
	op := c.op[node]
	c.op[node], w.votes, w.stored = 0, [explored + 1]uint8{}, false
	vote := protocol.Vote{Outcome: protocol.Granted, Fence: uint64(fence)}
	if fence == refusal {
		vote = protocol.Vote{Outcome: protocol.Refused}
	}
	x.step(s, client, protocol.Input{Kind: protocol.Voted, Node: node, Request: c.owed[node], Op: op, Vote: vote})
}

func (x plain) key(s *tinyWorld) uint64 {
	h := fold(fold(9, s.returned), s.hint<<8|uint64(s.amnesias))
	for n := range x.cfg.Nodes {
		r := &s.nodes[n]
		h = fold(fold(h, uint64(r.owner)), r.fence<<32|r.counter<<1|b2u(r.young))
	}
	for c := range x.cfg.Clients {
		k := &s.clients[c]
		h = fold(fold(h, b2u(k.begun)|b2u(k.done)<<1|uint64(k.copies)<<2|k.token<<32), k.floor<<32|k.hint)
		if k.machine != nil {
			h = fold(h, k.machine.State())
		}
		for n := range x.cfg.Nodes {
			w := &s.wires[c][n]
			h = fold(h, uint64(w.votes[0])|uint64(w.votes[1])<<8|uint64(w.votes[2])<<16|uint64(w.votes[3])<<24|uint64(k.op[n])<<32)
			h = fold(h, uint64(w.acquires)|b2u(w.stored)<<8|b2u(w.confirm)<<9|uint64(w.fence)<<16|uint64(w.token)<<24)
			if k.machine != nil {
				h = fold(h, k.machine.SeatState(n))
			}
		}
	}
	return max(1, h)
}

// The shortcuts miss nothing: all the leases, with all the tokens, that the plain
// search comes to are found with them, and no others; and where a defence is left
// out, both find that it is missed, or neither does.
func TestShortcutsMissNothing(t *testing.T) {
	type bound struct{ clients, nodes, duplicates, amnesias, ahead int }
	all := []Defence{0, MajorityQuorum, ConfirmToken, NoHigherGrants, GrowingFences, ConfirmByOwner, ConfirmByFence, RestartGuard, HintFromClock}
	cases := []struct {
		bound
		without []Defence
	}{
		{bound{2, 1, 2, 0, 0}, []Defence{0}},
		{bound{2, 1, 1, 1, 2}, all},
		{bound{2, 2, 0, 1, 3}, all},
		{bound{2, 2, 1, 0, 0}, all[:7]},
		{bound{3, 1, 1, 0, 0}, []Defence{0}},
		{bound{3, 2, 0, 0, 0}, []Defence{0, ConfirmToken, ConfirmByOwner}},
		{bound{2, 3, 0, 0, 0}, []Defence{0, MajorityQuorum, ConfirmToken, NoHigherGrants, ConfirmByOwner}},
	}
	if testing.Short() || raced {
		cases = cases[:3]
	}
	broken := map[bool]int{}
	for _, tt := range cases {
		for _, without := range tt.without {
			cfg := ExploreConfig{Clients: tt.clients, Nodes: tt.nodes, Duplicates: tt.duplicates, Amnesias: tt.amnesias, Ahead: tt.ahead, Without: without}
			short, long := newExploration(cfg), newPlain(cfg)
			short.outcomes, long.outcomes = map[string]bool{}, map[string]bool{}
			short.run()
			long.run()
			t.Logf("%v, without %q: %d states, and %d without shortcuts; broken: %t", &cfg, without, short.seen.n, long.seen.n, short.report.Broken != "")
			require.Equal(t, long.report.Broken == "", short.report.Broken == "")
			broken[short.report.Broken != ""]++
			if short.report.Broken == "" {
				require.Equal(t, long.outcomes, short.outcomes)
				require.NotEmpty(t, short.outcomes)
			}
		}
	}
	require.NotZero(t, broken[true])
	require.NotZero(t, broken[false])
}
