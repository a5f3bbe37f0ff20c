package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

// How long workers hold the lock, and do something else in between.
const (
	holdMin, holdMax = 10 * time.Millisecond, 40 * time.Millisecond
	idleMin, idleMax = 1 * time.Millisecond, 20 * time.Millisecond
)

// worker stands for a program: it takes the lock, works, and gives it back.
type worker struct {
	demo     *demo
	index    int
	name     string
	locker   *redlock.Locker
	renewals atomic.Int64 // of all its leases
	pausing  atomic.Bool  // it is to be paused with its next lease
}

func newWorker(d *demo, index int, nodes []redlock.Node) (*worker, error) {
	w := &worker{demo: d, index: index, name: fmt.Sprintf("worker-%d", index+1)}
	locker, err := redlock.New(nodes, redlock.Options{
		TTL: d.ttl,
		// The key is the demo's own, so no client of it asks for more.
		MaxTTL:      d.ttl,
		NodeTimeout: d.ttl / 5,
		RetryMax:    d.ttl / 20,
		OutageWait:  -1,
		Clock:       d.Clock,
		Random:      d.Random,
		Observer:    w,
	})
	w.locker = locker
	return w, err
}

// Observe counts votes for the view, and renewals.
func (w *worker) Observe(_ context.Context, e redlock.Event) {
	switch e.Kind {
	case redlock.EventVote:
		w.demo.voted(e)
	case redlock.EventRenewed:
		w.renewals.Add(1)
	}
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch {
		case w.pausing.CompareAndSwap(true, false):
			w.bePaused(ctx)
		case w.demo.standBack.Load():
			_ = sleep(ctx, w.demo.Clock, refresh/10)
		default:
			w.workOnce(ctx)
			w.show(idle, 0)
			_ = sleep(ctx, w.demo.Clock, w.between(idleMin, idleMax))
		}
	}
	w.show(idle, 0)
}

// workOnce is what every program does with a lock. Whatever error comes of it
// needs no answer: outages are waited out, and the next lease is another one.
func (w *worker) workOnce(ctx context.Context) {
	w.show(waiting, 0)
	_ = w.locker.Do(ctx, w.demo.key, func(ctx context.Context, lease *redlock.Lease) error {
		if granted, ok := w.granted(lease); ok {
			w.hold(ctx, granted, lease)
		}
		return nil
	})
}

// hold works under the lease, until ctx ends, which the lease's end ends too.
func (w *worker) hold(ctx context.Context, granted int, lease *redlock.Lease) {
	w.show(holding, lease.Token())
	w.write(lease)
	hold, long := w.between(holdMin, holdMax), w.demo.longJob.CompareAndSwap(true, false)
	if long {
		hold = w.demo.ttl * 3 / 2
		w.demo.board.event("%s starts a job of %s, longer than the TTL of %s", w.name, seconds(hold), seconds(w.demo.ttl))
	}
	before := w.renewals.Load()
	interrupted := sleep(ctx, w.demo.Clock, hold) != nil
	w.ended(granted, lease)
	switch {
	case long && errors.Is(lease.Err(), redlock.ErrLost):
		w.demo.board.event("%s lost its lease on the way, and stopped", w.name)
	case long && !interrupted:
		w.tellLongJob(w.renewals.Load() - before)
	}
}

func (w *worker) tellLongJob(renewals int64) {
	across := ""
	if w.demo.outage.isDown() {
		across = ", across the kill"
	}
	w.demo.board.event("%s is done: its lease was renewed %s%s", w.name, times(renewals), across)
}

// bePaused holds a lease as a program does that is stopped for longer than the
// validity, by its garbage collector or with its virtual machine: it neither
// renews the lease nor looks at its context, and when it goes on it finishes the
// write that it was about to make.
func (w *worker) bePaused(ctx context.Context) {
	d := w.demo
	defer d.standBack.Store(false)
	w.show(waiting, 0)
	lease, err := w.locker.With(redlock.LockOptions{NoRenew: true}).Lock(ctx, d.key)
	if err != nil {
		return
	}
	defer lease.Unlock(ctx) //nolint:errcheck // it is lost by then
	granted, ok := w.granted(lease)
	if !ok {
		return
	}
	w.write(lease)
	w.show(paused, lease.Token())
	d.pause.began(d, w, lease)
	d.standBack.Store(false)

	if d.pause.wait(ctx, d, lease) != nil {
		w.ended(granted, lease)
		return
	}
	d.ledger.ended(granted, d.pause.until())
	newer := d.unfenced.by()
	d.board.event("%s wakes, unaware: %s has written since", w.name, newer)
	refused, taken := !d.fenced.write(lease.Token(), w.name), d.unfenced.write(lease.Token(), w.name)
	if refused && taken {
		d.board.event("%s writes: the fenced register refuses, the other loses an update", w.name)
	}
	d.pause.over()
}

// granted opens a window of the ledger. It reports false if the lease is over
// already, which it may be on a machine that stood still: then it is not used.
func (w *worker) granted(lease *redlock.Lease) (window int, ok bool) {
	now := w.demo.Clock.Now()
	if lease.Err() != nil {
		return 0, false
	}
	return w.demo.ledger.granted(lease.Token(), now), true
}

// ended closes the window: at this instant, or when the validity ended before.
func (w *worker) ended(window int, lease *redlock.Lease) {
	now := w.demo.Clock.Now()
	w.demo.ledger.ended(window, now+min(0, lease.Remaining()))
}

// write stores the worker's update in both registers, as a careful holder does:
// only while the lease is valid.
func (w *worker) write(lease *redlock.Lease) {
	if lease.Err() == nil {
		w.demo.fenced.write(lease.Token(), w.name)
		w.demo.unfenced.write(lease.Token(), w.name)
	}
}

func (w *worker) show(s workerState, token uint64) { w.demo.board.worker(w.index, s, token) }

// between draws a duration. Without randomness it is the shortest.
func (w *worker) between(least, most time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(w.demo.Random, b[:]); err != nil {
		return least
	}
	return least + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(most-least))
}
