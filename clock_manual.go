package redlock

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// ManualClock is a Clock that stands still until it is told to move, for tests
// of code that holds leases. Timers run in the goroutine that calls Advance, in
// order of their time. The zero value is not ready: use NewManualClock.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Duration
	offset time.Duration // of the wall clock, as set by SetWall
	epoch  time.Time
	timers []*manualTimer
}

// NewManualClock makes a clock that shows the given date and time.
func NewManualClock(wall time.Time) *ManualClock {
	// An origin other than zero: code that mistakes a zero instant for "none"
	// shall work here as it does on a real clock.
	return &ManualClock{now: time.Hour, epoch: wall.Add(-time.Hour)}
}

// Now implements Clock.
func (c *ManualClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Wall implements Clock.
func (c *ManualClock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall()
}

func (c *ManualClock) wall() time.Time { return c.epoch.Add(c.now + c.offset) }

// SetWall makes the wall clock jump, as an administrator or NTP would. Now and
// the timers are not affected.
func (c *ManualClock) SetWall(wall time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += wall.Sub(c.wall())
}

// Advance moves the clock by d and runs every timer that is due on the way, at
// its own time. It returns when they have run, but does not wait for goroutines
// that they woke: a request that is on its way times out if the clock moves by
// more than Options.NodeTimeout at once, as it would if the process had been
// suspended. To have leases renewed, advance in smaller steps and wait for the
// effect of each, or use GoClock under testing/synctest.
//
// It panics if d is negative.
func (c *ManualClock) Advance(d time.Duration) {
	if d < 0 {
		panic("redlock: ManualClock.Advance: a clock does not go back")
	}
	c.mu.Lock()
	end := c.in(d)
	for len(c.timers) > 0 && c.timers[0].at <= end {
		t := c.timers[0]
		c.timers = c.timers[1:]
		c.now = max(c.now, t.at)
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = max(c.now, end)
	c.mu.Unlock()
}

// Next is the time until the earliest pending timer, and false if there is none.
func (c *ManualClock) Next() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return max(0, c.timers[0].at-c.now), true
}

// AfterFunc implements Clock.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{clock: c, at: c.in(max(0, d)), f: f}
	// After the timers of the same time: first set, first run.
	i, _ := slices.BinarySearchFunc(c.timers, t.at, func(t *manualTimer, at time.Duration) int {
		if t.at <= at {
			return -1
		}
		return 1
	})
	c.timers = slices.Insert(c.timers, i, t)
	return t
}

// in is the time d from now, or the last that there is.
func (c *ManualClock) in(d time.Duration) time.Duration {
	return c.now + min(d, math.MaxInt64-c.now)
}

// WithTimeout implements Clock.
func (c *ManualClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancelCause(ctx)
	t := &manualContext{Context: inner, cancel: cancel, deadline: c.Wall().Add(d), done: make(chan struct{})}
	if outer, ok := ctx.Deadline(); ok && outer.Before(t.deadline) {
		t.deadline = outer
	}
	if err := inner.Err(); err != nil {
		t.end(err)
	}
	stop := context.AfterFunc(inner, func() { t.end(inner.Err()) })
	timer := c.AfterFunc(d, func() { t.end(context.DeadlineExceeded) })
	return t, func() {
		timer.Stop()
		stop()
		t.end(context.Canceled)
	}
}

type manualTimer struct {
	clock *ManualClock
	at    time.Duration
	f     func()
}

func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	i := slices.Index(t.clock.timers, t)
	if i < 0 {
		return false
	}
	t.clock.timers = slices.Delete(t.clock.timers, i, i+1)
	return true
}

// manualContext ends with DeadlineExceeded when its timer, not a caller, ended
// it. It has a channel of its own: with that of the context it wraps, contexts
// derived from it would end as that one does, which knows of no deadline.
type manualContext struct {
	context.Context
	cancel   context.CancelCauseFunc
	deadline time.Time

	once sync.Once
	err  error // set before done is closed
	done chan struct{}
}

func (c *manualContext) end(err error) {
	c.once.Do(func() {
		c.err = err
		c.cancel(err) // before the channel is closed: the cause is there with it
		close(c.done)
	})
}

func (c *manualContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *manualContext) Done() <-chan struct{} { return c.done }

func (c *manualContext) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}
