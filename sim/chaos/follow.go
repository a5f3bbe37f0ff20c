package chaos

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// follow listens to everybody until something holds, a time has come, or the run is
// over. It reports whether it holds.
func (r *run) follow(holds func() bool, until time.Duration) bool {
	timer := time.NewTimer(until - r.since())
	defer timer.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case h := <-r.heard:
			r.take(h)
		case <-look.C:
			if holds() || r.broke() {
				return true
			}
		case <-timer.C:
			return holds()
		case <-r.ctx.Done():
			return false
		}
	}
}

// take takes down what a process said.
func (r *run) take(h heard) {
	switch {
	case h.Error != "":
		r.failed(errors.New(h.Error))
	case h.Sample != nil:
		h.Sample.At -= r.origin
		r.samples = append(r.samples, *h.Sample)
	case h.Signal != "":
		r.pull(h)
	case h.Deed != nil:
		d := *h.Deed
		d.At -= r.origin
		if d.Until > 0 {
			d.Until -= r.origin
		}
		r.note(d)
		if d.Client >= 0 && d.Client < len(r.clients) {
			r.clients[d.Client].count(&d, r.isHealed())
		}
	}
}

// pull lets the faults that waited for a client to get somewhere strike, and then
// the client go on.
func (r *run) pull(h heard) {
	var now []sim.Fault
	r.mu.Lock()
	if !r.healed {
		r.waiting = slices.DeleteFunc(r.waiting, func(f sim.Fault) bool {
			mine := signalOf(&f) == h.Signal && (f.OnClient == h.client || f.OnClient == everybody)
			if mine {
				now = append(now, f)
			}
			return mine
		})
	}
	r.mu.Unlock()
	k := r.clients[h.client]
	for i := range now {
		f := &now[i]
		if f.At > 0 {
			r.later(f.At, func() { r.happen(f) })
			continue
		}
		r.happen(f)
	}
	_ = k.tell(command{Go: h.Gate}) // it may have been killed
}

// finished says that nothing more is to come of the plan: the faults are over, and
// every program has done what it was to do.
func (r *run) finished() bool {
	r.mu.Lock()
	pending := r.pending
	r.mu.Unlock()
	if pending > 0 || r.plan.Mixed != nil {
		return false
	}
	for c, k := range r.clients {
		w := r.work(c)
		if k.alive.Load() && (k.writes > 0 || w.Times == 0 || k.done < w.Times) {
			return false
		}
	}
	return true
}

func (r *run) work(c int) *sim.Work {
	if c < len(r.cfg.Plans) {
		return &r.cfg.Plans[c]
	}
	return &r.cfg.Work
}

// served says that every client that wants a lease had one since all was healed.
func (r *run) served() bool {
	for c := range r.clients {
		if r.wants(c) && r.clients[c].wins == 0 {
			return false
		}
	}
	return true
}

func (r *run) wants(c int) bool {
	k, w := r.clients[c], r.work(c)
	return k.alive.Load() && !w.Idle && (r.plan.Mixed != nil || w.Times == 0 || k.takes < w.Times)
}

// starve notes who did not get the lock in time.
func (r *run) starve(quiet time.Duration) {
	for c, k := range r.clients {
		if r.wants(c) && k.wins == 0 {
			r.note(sim.Deed{At: r.since(), Kind: sim.Starves, Client: c, Key: r.keys[0],
				Text: fmt.Sprintf("c%d has not got the lock for %v after all faults ended", c+1, quiet)})
		}
	}
}
