package sim

import (
	"math/bits"
	"slices"
)

// orders are the orders of the clients.
var orders = [explored + 1][][explored]int8{
	1: {{0, 1, 2}},
	2: {{0, 1, 2}, {1, 0, 2}},
	3: {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}},
}

// parts are hashes of the parts of a state.
type parts struct {
	clients [explored]uint64
	alike   [explored]uint64 // equal for clients that may be each other's mirror image
	nodes   [explored]uint64 // but for the owner
	wires   [explored][explored]uint64
}

// key is the same for states that differ only in the order of the nodes and of
// the clients. Of the orders of the clients it takes that which sorts them, or, if
// some look alike, that with the smallest hash; the nodes' parts are sorted.
func (x *exploration) key(s *tinyWorld) uint64 {
	p := x.parts(s)
	least := uint64(0)
	for _, order := range orders[x.cfg.Clients] {
		sorted := true
		for i := 1; i < x.cfg.Clients; i++ {
			sorted = sorted && p.alike[order[i-1]] <= p.alike[order[i]]
		}
		if !sorted {
			continue
		}
		if h := x.ordered(s, p, &order); least == 0 || h < least {
			least = h
		}
	}
	return least
}

func (x *exploration) parts(s *tinyWorld) *parts {
	var p parts
	for n := range x.cfg.Nodes {
		r := &s.nodes[n]
		p.nodes[n] = fold(2, r.counter<<17|r.fence<<1|b2u(r.young))
	}
	for c := range x.cfg.Clients {
		k := &s.clients[c]
		h := fold(3, b2u(k.begun)|b2u(k.done)<<1|uint64(k.copies)<<2|k.token<<8|k.hint<<24)
		if !k.done {
			h = fold(h, k.floor)
		}
		if k.machine != nil {
			h = fold(h, k.machine.State())
		}
		sum := uint64(0)
		for n := range x.cfg.Nodes {
			w := &s.wires[c][n]
			v := fold(uint64(w.votes[0])|uint64(w.votes[1])<<8|uint64(w.votes[2])<<16|uint64(w.votes[3])<<24,
				uint64(w.acquires)|b2u(w.stored)<<8|b2u(w.confirm)<<9|uint64(w.fence)<<16|uint64(w.token)<<24)
			if k.machine != nil {
				v = fold(v, k.machine.SeatState(n))
			}
			p.wires[c][n] = v
			sum += fold(fold(v, p.nodes[n]), b2u(s.nodes[n].owner == uint32(c)+1))
		}
		p.clients[c], p.alike[c] = h, fold(h, sum)
	}
	return &p
}

// ordered hashes a state with its clients in an order.
func (x *exploration) ordered(s *tinyWorld, p *parts, order *[explored]int8) uint64 {
	h := fold(1, b2u(s.mayStart)|uint64(s.amnesias)<<1|s.hint<<8)
	var nodes [explored]uint64
	for n := range x.cfg.Nodes {
		nodes[n] = p.nodes[n]
	}
	waiting := false // somebody who has not begun
	for i, c := range order[:x.cfg.Clients] {
		h = fold(h, p.clients[c])
		waiting = waiting || !s.clients[c].begun
		for n := range x.cfg.Nodes {
			nodes[n] = fold(nodes[n], p.wires[c][n])
			if s.nodes[n].owner == uint32(c)+1 {
				nodes[n] = fold(nodes[n], uint64(i))
			}
		}
	}
	if waiting {
		h = fold(h, s.returned)
	}
	slices.Sort(nodes[:x.cfg.Nodes])
	for _, part := range nodes[:x.cfg.Nodes] {
		h = fold(h, part)
	}
	return max(h, 1)
}

// fold mixes x into a hash well enough for a set of many millions: the halves of a
// product of 128 bits.
func fold(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^0x9E3779B97F4A7C15, x^0xD6E8FEB86659FD93)
	return hi ^ lo ^ bits.RotateLeft64(h, 32) ^ x*0xA0761D6478BD642F
}

// hashSet is an open-addressed set of hashes: a tenth of the memory of a map. Two
// states with one hash would be taken for one: among ten million the odds of that
// are one in three hundred thousand.
type hashSet struct {
	slots []uint64
	n     int
}

// add reports whether h, which is not 0, is new.
func (s *hashSet) add(h uint64) bool {
	if 4*s.n >= 3*len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
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
