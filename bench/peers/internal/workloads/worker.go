package workloads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/measure"
)

// worker locks and unlocks keys of its own, one after the other.
type worker struct {
	scene  *scene
	locker lockers.Locker
	keys   []string
	guards []guard
	next   int
	err    error

	lock, unlock, both measure.Latencies
}

// newWorkers makes n workers on one locker. They come back to a key late, so that
// a vote that was stranded on it hinders its own locker little.
func (s *scene) newWorkers(l lockers.Locker, n int) []*worker {
	keysEach := max(64, 4096/n)
	all := make([]*worker, n)
	for i := range all {
		w := &worker{scene: s, locker: l, keys: make([]string, keysEach), guards: make([]guard, keysEach)}
		for k := range w.keys {
			w.keys[k] = fmt.Sprintf("bench/%d/%d", i, k)
		}
		room := 1<<16/n + 64
		for _, latencies := range []*measure.Latencies{&w.lock, &w.unlock, &w.both} {
			latencies.Reserve(room)
		}
		all[i] = w
	}
	return all
}

// lastLock is how long after its time a worker waits for a free key. A locker that
// has missed a notification may wait for ever.
const lastLock = 10 * time.Second

// work has all workers work for so long. An operation that was begun is ended.
func work(ctx context.Context, workers []*worker, d time.Duration) error {
	until := time.Now().Add(d)
	locking, cancel := context.WithDeadline(ctx, until.Add(lastLock))
	defer cancel()
	var all sync.WaitGroup
	for _, w := range workers {
		w.lock.Reset()
		w.unlock.Reset()
		w.both.Reset()
		all.Go(func() {
			for w.err == nil && ctx.Err() == nil && time.Now().Before(until) {
				w.err = w.step(ctx, locking)
			}
		})
	}
	all.Wait()
	var errs []error
	for _, w := range workers {
		errs = append(errs, w.err)
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func (w *worker) step(ctx, locking context.Context) error {
	k := w.next % len(w.keys)
	w.next++
	start := time.Now()
	held, err := w.locker.Lock(locking, w.keys[k])
	if err != nil {
		w.scene.failed.add(err)
		return ctx.Err()
	}
	got := time.Now()
	w.scene.enter(&w.guards[k], held)
	w.scene.leave(&w.guards[k])
	freeing := time.Now()
	err = held.Unlock(ctx)
	freed := time.Now()
	if err != nil {
		w.scene.lost.add(err)
	}
	w.lock.Add(got.Sub(start))
	w.unlock.Add(freed.Sub(freeing))
	w.both.Add(freed.Sub(start))
	return nil
}

// latencies adds the percentiles of what the workers saw to the figures.
func latencies(workers []*worker, prefix string, f Figures) (operations int) {
	for _, kind := range []struct {
		name string
		of   func(w *worker) *measure.Latencies
	}{
		{"lock", func(w *worker) *measure.Latencies { return &w.lock }},
		{"unlock", func(w *worker) *measure.Latencies { return &w.unlock }},
		{"both", func(w *worker) *measure.Latencies { return &w.both }},
	} {
		var lists []*measure.Latencies
		operations = 0
		for _, w := range workers {
			lists = append(lists, kind.of(w))
			operations += kind.of(w).Len()
		}
		q := measure.Merge(lists...)
		for _, p := range []struct {
			name string
			at   float64
		}{{"p50", 50}, {"p99", 99}, {"p999", 99.9}, {"max", 100}} {
			if v := q.Micros(p.at); operations > 0 {
				f[prefix+kind.name+"_"+p.name+"_us"] = v
			}
		}
	}
	return operations
}
