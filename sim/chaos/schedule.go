package chaos

import (
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock/sim"
)

func signalOf(f *sim.Fault) string { return fmt.Sprintf("%s#%d", f.On, f.OnCount) }

// begin lets the clients work and the faults come.
func (r *run) begin() error {
	r.origin, r.epoch = stamp(), uint64(time.Now().UnixMicro())
	r.plot()
	for _, k := range r.clients {
		if err := k.tell(command{Start: true}); err != nil {
			return err
		}
	}
	return nil
}

// plot plans the faults. Those of the first moment are there before the clients.
func (r *run) plot() {
	var first sync.WaitGroup
	for i := range r.cfg.Faults {
		f := &r.cfg.Faults[i]
		r.planBackups(f)
		switch {
		case f.On != "":
			r.waiting = append(r.waiting, *f)
		case f.At == 0:
			first.Go(func() { r.happen(f) })
		default:
			r.later(f.At, func() { r.happen(f) })
		}
	}
	first.Wait()
}

// planBackups sees to it that there is a copy of the data to put back, of the age
// that a fault wants, and that a replica lags.
func (r *run) planBackups(f *sim.Fault) {
	if f.Losing == 0 {
		return
	}
	for _, n := range indices(f.Node, len(r.hosts)) {
		do := func() {
			r.turns[n].Lock()
			defer r.turns[n].Unlock()
			if f.Verb == sim.Failover {
				r.failed(r.lag(n))
				return
			}
			backup, err := r.hosts[n].server.Backup()
			r.failed(err)
			r.mu.Lock()
			r.backups[f.String()+fmt.Sprint(n)] = backup
			r.mu.Unlock()
		}
		if f.On != "" || f.At <= f.Losing {
			do()
			continue
		}
		r.later(f.At-f.Losing, do)
	}
}

// later does something in a while, unless all is healed by then.
func (r *run) later(in time.Duration, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending++
	r.timers = append(r.timers, time.AfterFunc(in, func() {
		r.mu.Lock()
		r.pending--
		if r.healed {
			r.mu.Unlock()
			return
		}
		r.busy.Add(1)
		r.mu.Unlock()
		defer r.busy.Done()
		do()
	}))
}

// happen lets a fault strike, and end in time.
func (r *run) happen(f *sim.Fault) {
	r.note(sim.Deed{At: r.since(), Kind: sim.Strikes, Fault: plain(f)})
	r.failed(r.strike(f))
	if f.For > 0 {
		r.later(f.For, func() {
			r.failed(r.mend(f))
			r.note(sim.Deed{At: r.since(), Kind: sim.Mends, Fault: plain(f)})
		})
	}
}

// plain is a fault without its time.
func plain(f *sim.Fault) string {
	p := *f
	p.At, p.On = 0, ""
	return p.String()
}

func (r *run) failed(err error) {
	if err == nil || r.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// broke says that something of the harness failed.
func (r *run) broke() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.errs) > 0
}

func (r *run) note(d sim.Deed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, d)
}

func (r *run) isHealed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.healed
}
