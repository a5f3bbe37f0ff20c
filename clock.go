package redlock

import (
	"context"
	"sync"
	"time"
)

// Clock tells the time and owns every timer, timeout and sleep of a Locker and
// its nodes, so that a test or a simulator can put its own in their place.
// [SystemClock] is the default, [ManualClock] the one for tests. A Clock is safe
// for concurrent use.
type Clock interface {
	// Now is the time elapsed since some fixed origin in the past. It never goes
	// back, is not set by anyone, and goes on while the machine is suspended.
	Now() time.Duration

	// Wall is the date and time of day. Correctness never depends on it.
	Wall() time.Time

	// AfterFunc calls f, in a goroutine of its own or in the one that moves the
	// clock, once d has passed.
	AfterFunc(d time.Duration, f func()) Timer

	// WithTimeout is context.WithTimeout on this clock.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Timer is a pending call of Clock.AfterFunc.
type Timer interface {
	// Stop prevents the call and reports whether it did: false means that the
	// call has been made or was stopped before.
	Stop() bool
}

// SystemClock is the machine's clock. On Linux it is CLOCK_BOOTTIME, which
// counts the time a machine or its virtual machine was suspended; elsewhere it
// is Go's monotonic clock, which on some systems does not.
//
// Go's timers stand still during a suspend even on Linux. Long timers of this
// clock look at the time once a second, so that after a resume a lease that ran
// out meanwhile is told lost within that second; Lease.Err and Lease.Remaining
// read the clock themselves and know at once.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Duration { return bootTime() }

func (systemClock) Wall() time.Time { return time.Now() }

func (systemClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

func (c systemClock) AfterFunc(d time.Duration, f func()) Timer {
	if d <= timerStep {
		return time.AfterFunc(d, f)
	}
	return newSteppedTimer(c.Now, d, f)
}

// GoClock is Go's own time. It is what testing/synctest puts into virtual time:
// give it to a Locker and its nodes in a bubble. Outside tests use SystemClock,
// which counts suspended time.
func GoClock() Clock { return goClock{} }

type goClock struct{ systemClock }

func (goClock) Now() time.Duration { return goMonotonic() }

func (goClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// goMonotonic is the runtime's own clock: Linux's CLOCK_MONOTONIC, which stands
// still during a suspend. The origin lies so far back that the clock is positive
// in a bubble too, where it is the year 2000.
func goMonotonic() time.Duration { return time.Since(processStart) + century }

// goTime reads the runtime's monotonic clock and its wall clock at one instant.
func goTime() (monotonic, wall time.Duration) {
	now := time.Now()
	return now.Sub(processStart), time.Duration(now.UnixNano())
}

var processStart = time.Now()

const century = 100 * 365 * 24 * time.Hour

// timerStep bounds how long a steppedTimer sleeps without looking at the clock.
const timerStep = time.Second

// steppedTimer waits on a clock that may run on while Go's timers stand still.
type steppedTimer struct {
	now func() time.Duration
	at  time.Duration
	f   func()

	mu      sync.Mutex
	stopped bool
	timer   *time.Timer
}

func newSteppedTimer(now func() time.Duration, d time.Duration, f func()) *steppedTimer {
	t := &steppedTimer{now: now, at: now() + d, f: f}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(timerStep, t.step)
	return t
}

func (t *steppedTimer) step() {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		return
	}
	if left := t.at - t.now(); left > 0 {
		t.timer.Reset(min(left, timerStep))
		t.mu.Unlock()
		return
	}
	t.stopped = true
	t.mu.Unlock()
	t.f()
}

func (t *steppedTimer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.stopped
	t.stopped = true
	t.timer.Stop()
	return !was
}
