package chaos

import (
	"sync"
	"sync/atomic"

	"github.com/quorumlock/redlock/sim"
)

// client is a client's process, or was.
type client struct {
	mu     sync.Mutex
	child  *child
	frozen int // nested faults
	life   int

	alive atomic.Bool

	// Of whoever listens.
	takes  int // leases in all its lives
	done   int // those that are over
	wins   int // since all faults ended
	writes int // on their way
}

// current is the process as it is now.
func (k *client) current() *child {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.child
}

func (k *client) tell(c command) error { return k.current().tell(c) }

func (k *client) freeze() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen++
	if !k.alive.Load() {
		return nil
	}
	return k.child.Freeze()
}

func (k *client) thaw() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = max(0, k.frozen-1)
	if k.frozen > 0 || !k.alive.Load() {
		return nil
	}
	return k.child.Thaw()
}

// melt ends all that keeps it frozen.
func (k *client) melt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.frozen > 0 && k.alive.Load() {
		_ = k.child.Thaw()
	}
	k.frozen = 0
}

// kill ends it at once. It reports whether it was alive.
func (k *client) kill() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.alive.Swap(false) {
		return false
	}
	k.child.Kill()
	return true
}

// reborn puts another process in its place.
func (k *client) reborn(as *child, life int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.child, k.life, k.frozen = as, life, 0
	k.alive.Store(true)
}

// count follows what it does.
func (k *client) count(d *sim.Deed, healed bool) {
	switch d.Kind {
	case sim.Takes:
		k.takes++
		if healed {
			k.wins++
		}
	case sim.Unlocks, sim.Loses:
		k.done++
	case sim.Writes:
		k.writes++
	case sim.Arrives:
		k.writes--
	}
}
