package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/sim"
)

// isOutage says that too few nodes voted. Where the caller had no patience to find out,
// nobody knows.
func isOutage(err error) bool {
	cutShort := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	return errors.Is(err, redlock.ErrNoQuorum) && !cutShort
}

// sleep reports false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// plan is the program of the simulator's clients: it asks, holds, writes, unlocks
// and thinks, as often as it is told.
func (w *worker) plan(ctx context.Context) {
	work := &w.spec.Work
	if !sleep(ctx, work.Start) {
		return
	}
	for n := 0; ctx.Err() == nil; {
		if work.Idle {
			select {
			case <-w.nudges:
			case <-ctx.Done():
				return
			}
		} else if work.Times > 0 && n >= work.Times {
			return
		}
		for work.Idle && ctx.Err() == nil && !w.once(ctx) {
			// It was told to have the lock, and it was meant.
		}
		if !work.Idle && w.once(ctx) {
			n++
		}
		if !sleep(ctx, max(time.Millisecond, work.Think)) {
			return
		}
	}
}

// once takes the lock and uses it. It reports whether there was a lease.
func (w *worker) once(ctx context.Context) bool {
	w.signal(ctx, "asks")
	id := w.ask(w.spec.Key)
	w.signal(ctx, "starts")
	waiting, stop := ctx, context.CancelFunc(func() {})
	if w.spec.Work.Patience > 0 && !w.isHealed() {
		waiting, stop = context.WithTimeout(ctx, w.spec.Work.Patience)
	}
	h, err := w.locker.Lock(waiting, w.spec.Key)
	stop()
	if err != nil {
		w.refused(id, w.spec.Key, err)
		return false
	}
	l := w.took(id, w.spec.Key, h)
	w.signal(ctx, "takes")
	w.use(ctx, l)
	if l.Err() != nil {
		w.signal(ctx, "loses")
	}
	w.unlock(context.WithoutCancel(ctx), l)
	w.signal(ctx, "unlocks")
	return true
}

// use holds the lock, and writes to the resource now and then, each time after a
// look at the lease.
func (w *worker) use(ctx context.Context, l *lease) {
	work := &w.spec.Work
	end := time.NewTimer(work.Hold)
	defer end.Stop()
	writes := time.NewTimer(0)
	defer writes.Stop()
	if work.WriteEvery == 0 {
		writes.Stop()
	}
	extend := time.NewTimer(work.Hold / 2)
	defer extend.Stop()
	if work.ExtendBy == 0 {
		extend.Stop()
	}
	healed := w.healed
	for {
		select {
		case <-l.Done():
			return
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-healed: // a long hold would only be waited out
			healed = nil
			end.Reset(min(work.Hold, 5*time.Millisecond))
		case <-extend.C:
			if l.Extend(ctx, work.ExtendBy) == nil {
				w.renewed(l)
			}
		case <-writes.C:
			if l.Err() != nil {
				return
			}
			// Between this look and the write anything may happen, and no lock can help.
			w.signal(ctx, "checks")
			w.signal(ctx, "writes")
			w.write(l)
			writes.Reset(work.WriteEvery)
		}
	}
}

// mix is a program that locks in every way there is, on many keys, in one of many
// goroutines of its process.
func (w *worker) mix(ctx context.Context, draw *chance) {
	ttl := w.spec.TTL
	for sleep(ctx, draw.between(time.Millisecond, 60*time.Millisecond)) {
		key := w.spec.Keys[draw.below(len(w.spec.Keys))]
		hold := draw.between(time.Millisecond, 20*time.Millisecond)
		way := draw.below(100)
		if way >= 96 {
			hold = ttl + draw.between(0, ttl/2) // it must be renewed meanwhile
		}
		switch {
		case way < 20:
			w.tryOnce(ctx, key, hold, draw)
		case way < 45:
			w.doOnce(ctx, key, hold, draw)
		default:
			w.lockOnce(ctx, key, hold, draw, way >= 86 && way < 96)
		}
	}
}

func (w *worker) tryOnce(ctx context.Context, key string, hold time.Duration, draw *chance) {
	id := w.ask(key)
	h, err := w.locker.TryLock(ctx, key)
	if err != nil {
		w.refused(id, key, err)
		return
	}
	w.spend(ctx, w.took(id, key, h), hold, draw)
}

func (w *worker) lockOnce(ctx context.Context, key string, hold time.Duration, draw *chance, extend bool) {
	id := w.ask(key)
	waiting, stop := context.WithTimeout(ctx, 4*w.spec.TTL)
	defer stop()
	h, err := w.locker.Lock(waiting, key)
	if err != nil {
		w.refused(id, key, err)
		return
	}
	l := w.took(id, key, h)
	if extend && l.Extend(ctx, 0) == nil {
		w.renewed(l)
	}
	w.spend(ctx, l, hold, draw)
}

// doOnce locks by Do, which unlocks by itself: what is done after the function has
// returned is not under the lock any more.
func (w *worker) doOnce(ctx context.Context, key string, hold time.Duration, draw *chance) {
	locker, ok := w.locker.(proper)
	if !ok {
		w.lockOnce(ctx, key, hold, draw, false)
		return
	}
	id := w.ask(key)
	waiting, stop := context.WithTimeout(ctx, 4*w.spec.TTL)
	defer stop()
	had := false
	err := locker.Do(waiting, key, func(ctx context.Context, h *redlock.Lease) error {
		had = true
		l := w.took(id, key, h)
		w.busy(ctx, l, hold, draw)
		w.forget(l)
		return nil
	})
	if err != nil && !had {
		w.refused(id, key, err)
	}
}

// spend uses a lease for a while and gives it back.
func (w *worker) spend(ctx context.Context, l *lease, hold time.Duration, draw *chance) {
	w.busy(ctx, l, hold, draw)
	w.unlock(context.WithoutCancel(ctx), l)
}

// busy writes at the beginning and at the end of what it does, if its lease is
// valid then.
func (w *worker) busy(ctx context.Context, l *lease, hold time.Duration, draw *chance) {
	if l.Err() == nil {
		w.write(l)
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.Done():
	case <-ctx.Done():
	}
	if draw.below(2) == 0 && l.Err() == nil {
		w.write(l)
	}
}

// forget notes that a program relies on its lease no longer, or that it was lost. It
// is then given back, by the program or by Do. Its writes have arrived by then, if
// they can.
func (w *worker) forget(l *lease) {
	w.store.settle()
	w.mu.Lock()
	delete(w.leases, name(l.key, l.Token()))
	w.mu.Unlock()
	kind, text := sim.Unlocks, ""
	if err := l.Err(); err != nil {
		kind, text = sim.Loses, err.Error()
	}
	w.did(sim.Deed{At: stamp(), Kind: kind, Key: l.key, Lease: l.id, Text: text})
}
