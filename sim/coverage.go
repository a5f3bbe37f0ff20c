package sim

import (
	"fmt"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Phase is what a lock attempt is at when a fault strikes.
type Phase uint8

// The phases.
const (
	PhaseIdle Phase = iota
	PhaseAcquiring
	PhaseConfirming
	PhaseHandover
	PhaseHeld
	PhaseRenewing
	PhaseReleasing
	PhaseWaiting
	PhaseQueued   // waiting, with a place in the nodes' queues
	PhaseReserved // some node has set the key aside for it
	PhasePassed   // the lease was passed on to a user who has not got it yet
	phases
)

var phaseNames = [phases]string{
	"idle", "acquiring", "confirming", "handover", "held", "renewing", "releasing", "waiting", "queued", "reserved", "passed",
}

func (p Phase) String() string { return phaseNames[p] }

// Coverage counts how often each fault struck in each phase.
type Coverage [Throttle + 1][phases]int

// Add adds another's counts.
func (c *Coverage) Add(d *Coverage) {
	for v := range c {
		for p := range c[v] {
			c[v][p] += d[v][p]
		}
	}
}

// Unhit names the pairs of fault and phase that never met. Evictions are not
// among them: they are outside the assumptions, and a swarm has none.
func (c *Coverage) Unhit() []string {
	var out []string
	for v := Pause; v < Nudge; v++ {
		for p := range phases {
			if c[v][p] == 0 && v != Evict {
				out = append(out, fmt.Sprintf("%v x %v", v, p))
			}
		}
	}
	return out
}

// Pairs is how many pairs there are.
func (c *Coverage) Pairs() int { return int(Nudge-Pause-1) * int(phases) }

// cover notes in which phases a fault strikes the clients that it concerns.
func (w *world) cover(f *Fault) {
	if w.coverage == nil {
		return
	}
	client := f.Client
	if client == none {
		client = all
	}
	each(client, w.cfg.Clients, func(i int) { w.coverage[f.Verb][w.phase(&w.clients[i])]++ })
}

// coverMessage does so for what befell one message.
func (w *world) coverMessage(lost, again bool, client int) {
	phase := w.phase(&w.clients[client])
	if lost {
		w.coverage[Lose][phase]++
	}
	if again {
		w.coverage[Repeat][phase]++
	}
}

// reserved says that some node has set the key aside for a client that wants it.
func (w *world) reserved(c *client) bool {
	if c.place.waiter == 0 || c.state != waiting && c.state != acquiring {
		return false
	}
	for i := range w.nodes {
		if w.nodes[i].aside == c.place.waiter {
			return true
		}
	}
	return false
}

func (w *world) phase(c *client) Phase {
	switch {
	case w.reserved(c):
		return PhaseReserved
	case c.state == waiting && c.place.waiter != 0:
		return PhaseQueued
	case c.state == waiting:
		return PhaseWaiting
	case c.state == unlocking:
		return PhaseReleasing
	case c.current == nil:
		return PhaseIdle
	case c.current.won && !c.current.taken && c.current.passed:
		return PhasePassed
	case c.current.won && !c.current.taken:
		return PhaseHandover
	}
	for _, called := range c.current.calls {
		switch {
		case called.op == protocol.Confirm:
			return PhaseConfirming
		case called.op == protocol.Extend:
			return PhaseRenewing
		}
	}
	if c.state == holding {
		return PhaseHeld
	}
	return PhaseAcquiring
}
