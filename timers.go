package redlock

import (
	"sync"

	"github.com/quorumlock/redlock/internal/protocol"
)

// timers steps attempts when they asked for it. All of a Locker's share one timer
// of the clock, which is left alone when a later step is asked for or one is
// called off: most are, before they are due. So a held lease costs an entry in a
// heap, and a lock that is taken and released costs no timer.
type timers struct {
	clock Clock

	mu    sync.Mutex
	heap  []*attempt // by due; each knows its place
	timer Timer      // nil if none is running
	fires protocol.Instant
}

// set has a stepped at an instant, in place of any earlier wish; zero is never.
func (t *timers) set(a *attempt, at protocol.Instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := a.due != 0
	a.due = at
	switch {
	case at == 0 && waiting:
		t.remove(a)
	case waiting:
		t.fix(int(a.rank))
	case at != 0:
		a.rank = int32(len(t.heap))
		t.heap = append(t.heap, a)
		t.up(int(a.rank))
	}
	t.arm()
}

// arm has the timer fire no later than the first step is due.
func (t *timers) arm() {
	if len(t.heap) == 0 || t.timer != nil && t.fires <= t.heap[0].due {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.fires = t.heap[0].due
	t.timer = t.clock.AfterFunc(t.fires.Sub(protocol.Instant(t.clock.Now())), t.fire)
}

func (t *timers) fire() {
	for {
		a := t.next()
		if a == nil {
			return
		}
		a.step(protocol.Input{Kind: protocol.Tick})
	}
}

// next takes the first attempt that is due, or arms the timer anew.
func (t *timers) next() *attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) > 0 && t.heap[0].due <= protocol.Instant(t.clock.Now()) {
		a := t.heap[0]
		a.due = 0
		t.remove(a)
		return a
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.arm()
	return nil
}

// stop ends the timer once nothing is left to be stepped.
func (t *timers) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil && len(t.heap) == 0 {
		t.timer.Stop()
		t.timer = nil
	}
}

func (t *timers) remove(a *attempt) {
	last := len(t.heap) - 1
	i := int(a.rank)
	t.swap(i, last)
	t.heap[last] = nil
	t.heap = t.heap[:last]
	if i < last {
		t.fix(i)
	}
}

func (t *timers) fix(i int) {
	t.up(i)
	t.down(i)
}

func (t *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if t.heap[parent].due <= t.heap[i].due {
			return
		}
		t.swap(i, parent)
		i = parent
	}
}

func (t *timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			return
		}
		if child+1 < len(t.heap) && t.heap[child+1].due < t.heap[child].due {
			child++
		}
		if t.heap[i].due <= t.heap[child].due {
			return
		}
		t.swap(i, child)
		i = child
	}
}

func (t *timers) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.heap[i].rank, t.heap[j].rank = int32(i), int32(j)
}
