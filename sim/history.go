package sim

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// lockEvent is an operation of the history: a lease that begins, or one that its
// holder no longer relies on.
type lockEvent struct {
	begins bool
	token  uint64
}

// lockState is what a lock is, to everybody outside: free or held, and the
// largest token so far.
type lockState struct {
	held uint64
	last uint64
}

// lockModel is a lock in one place, which no fault befalls.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, in := state.(lockState), input.(lockEvent)
		if in.begins {
			return s.held == 0 && in.token > s.last, lockState{held: in.token, last: in.token}
		}
		return s.held == in.token, lockState{last: s.last}
	},
	DescribeOperation: func(input, _ any) string {
		in := input.(lockEvent)
		if in.begins {
			return fmt.Sprintf("lease %s begins", brief(in.token))
		}
		return fmt.Sprintf("lease %s ends", brief(in.token))
	},
}

// Linearizable checks the whole history with a checker that is not ours
// (porcupine): there is an order in which one lock, in one place, would have given
// out the same leases with the same tokens. known is false if it took too long to
// say. It is a second opinion on invariants I1 and I2, and holds only within the
// assumptions.
func (r *Report) Linearizable(patience time.Duration) (ok, known bool) {
	if r.world == nil {
		return false, false
	}
	worlds := r.worlds
	if len(worlds) == 0 {
		worlds = []*world{r.world}
	}
	for _, w := range worlds {
		if ok, known = w.linearizable(patience); !ok {
			return ok, known
		}
	}
	return true, true
}

func (w *world) linearizable(patience time.Duration) (ok, known bool) {
	var history []porcupine.Operation
	for _, a := range w.attempts {
		if !a.taken {
			continue
		}
		end := a.relied
		if a.over {
			end = min(end, a.ended)
		}
		id := a.client.id
		history = append(history, porcupine.Operation{ClientId: id, Input: lockEvent{true, a.token}, Call: int64(a.since), Return: int64(a.handed)})
		if end < never {
			history = append(history, porcupine.Operation{ClientId: id, Input: lockEvent{false, a.token}, Call: int64(end), Return: int64(end) + 1})
		}
	}
	switch porcupine.CheckOperationsTimeout(lockModel, history, patience) {
	case porcupine.Ok:
		return true, true
	case porcupine.Illegal:
		return false, true
	}
	return false, false
}
