package redlock_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

func TestSystemClockGoesOn(t *testing.T) {
	clock := redlock.SystemClock()
	before := clock.Now()
	fired := make(chan struct{})
	clock.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
	assert.GreaterOrEqual(t, clock.Now()-before, time.Millisecond)
	assert.WithinDuration(t, time.Now(), clock.Wall(), time.Minute)

	ctx, cancel := clock.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	assert.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
}

// A timer longer than a second looks at the clock every second, so that after a
// suspend, when the clock has moved and timers have not, it is at most that late.
func TestLongTimersSeeASuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var suspended, fired atomic.Int64
		start := time.Now()
		now := func() time.Duration { return time.Since(start) + time.Duration(suspended.Load()) }
		redlock.NewSteppedTimer(now, time.Hour, func() { fired.Store(int64(now())) })
		time.Sleep(10 * time.Second)
		suspended.Store(int64(2 * time.Hour))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.InDelta(t, 2*time.Hour+10*time.Second, fired.Load(), float64(time.Second))
	})
}

func TestLongTimersFireOnTimeAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		now := func() time.Duration { return time.Since(start) }
		var fired atomic.Int32
		timer := redlock.NewSteppedTimer(now, 2500*time.Millisecond, func() { fired.Add(1) })
		stopped := redlock.NewSteppedTimer(now, 2500*time.Millisecond, func() { t.Error("was stopped") })
		time.Sleep(2400 * time.Millisecond)
		assert.True(t, stopped.Stop())
		assert.False(t, stopped.Stop())
		assert.Zero(t, fired.Load())
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		assert.EqualValues(t, 1, fired.Load())
		assert.False(t, timer.Stop())
		time.Sleep(time.Minute)
		assert.EqualValues(t, 1, fired.Load())
	})
}

func TestManualClock(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := redlock.NewManualClock(start)
	require.True(t, clock.Wall().Equal(start))
	var order []string
	note := func(s string) func() { return func() { order = append(order, s) } }
	clock.AfterFunc(2*time.Second, note("two"))
	clock.AfterFunc(time.Second, func() {
		note("one")()
		clock.AfterFunc(500*time.Millisecond, note("one and a half"))
	})
	clock.AfterFunc(2*time.Second, note("two, later set"))
	stopped := clock.AfterFunc(time.Second, note("stopped"))
	assert.True(t, stopped.Stop())
	assert.False(t, stopped.Stop())
	next, ok := clock.Next()
	assert.True(t, ok)
	assert.Equal(t, time.Second, next)

	before := clock.Now()
	clock.Advance(3 * time.Second)
	assert.Equal(t, []string{"one", "one and a half", "two", "two, later set"}, order)
	assert.Equal(t, 3*time.Second, clock.Now()-before)
	_, ok = clock.Next()
	assert.False(t, ok)

	clock.SetWall(start.Add(-time.Hour))
	assert.True(t, clock.Wall().Equal(start.Add(-time.Hour)))
	assert.Equal(t, 3*time.Second, clock.Now()-before)
	assert.Panics(t, func() { clock.Advance(-1) })
}

func TestManualClockContexts(t *testing.T) {
	clock := redlock.NewManualClock(time.Now())
	ctx, cancel := clock.WithTimeout(t.Context(), time.Second)
	defer cancel()
	deadline, ok := ctx.Deadline()
	assert.True(t, ok)
	assert.True(t, deadline.Equal(clock.Wall().Add(time.Second)))
	clock.Advance(time.Second)
	<-ctx.Done()
	require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)

	ctx, cancel = clock.WithTimeout(t.Context(), time.Second)
	cancel()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	_, pending := clock.Next()
	assert.False(t, pending, "a cancelled timeout leaves no timer")
}

// A context that is derived from one with a timeout ends for the same reason: what
// a node does with the one that it is given looks no different from a server's.
func TestManualClockContextsOfContexts(t *testing.T) {
	type ctxKey struct{}
	clock := redlock.NewManualClock(time.Now())
	outer, cancel := clock.WithTimeout(context.WithValue(t.Context(), ctxKey{}, "value"), time.Second)
	defer cancel()
	child, cancelChild := context.WithCancel(outer)
	defer cancelChild()
	inner, cancelInner := clock.WithTimeout(child, time.Minute)
	defer cancelInner()
	assert.Equal(t, "value", inner.Value(ctxKey{}))
	deadline, _ := inner.Deadline()
	assert.True(t, deadline.Equal(clock.Wall().Add(time.Second)))
	clock.Advance(time.Second)
	for _, ctx := range []context.Context{outer, child, inner} {
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
		require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
	}

	mine := errors.New("mine")
	parent, cancelParent := context.WithCancelCause(t.Context())
	ctx, cancel := clock.WithTimeout(parent, time.Second)
	defer cancel()
	cancelParent(mine)
	<-ctx.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.ErrorIs(t, context.Cause(ctx), mine)

	ctx, cancel = clock.WithTimeout(parent, time.Second)
	defer cancel()
	require.ErrorIs(t, ctx.Err(), context.Canceled, "it ended before")
}

// "Never" is a time that does not come, not one that has passed.
func TestManualClockAtTheEndOfTime(t *testing.T) {
	clock := redlock.NewManualClock(time.Now())
	fired := map[string]bool{}
	clock.AfterFunc(math.MaxInt64, func() { fired["never"] = true })
	clock.AfterFunc(time.Second, func() { fired["soon"] = true })
	clock.AfterFunc(math.MaxInt64, func() { fired["never"] = true })
	clock.Advance(time.Hour)
	assert.Equal(t, map[string]bool{"soon": true}, fired)
	clock.Advance(math.MaxInt64)
	assert.True(t, fired["never"])
	assert.Equal(t, time.Duration(math.MaxInt64), clock.Now())
}

// A user's test of what their program does when it loses its lease.
func TestLossOnAManualClock(t *testing.T) {
	clock := redlock.NewManualClock(time.Now())
	nodes := memnode.NewN(3, memnode.Options{Clock: clock})
	l, err := redlock.New(nodes, redlock.Options{Clock: clock})
	require.NoError(t, err)
	lease, err := l.Lock(t.Context(), "k")
	require.NoError(t, err)
	for range 200 {
		clock.Advance(100 * time.Millisecond)
		// A renewal's answers come from goroutines: wait for them by what they
		// change.
		require.Eventually(t, func() bool { return lease.Remaining() > 6500*time.Millisecond }, time.Minute, time.Millisecond)
	}
	for _, n := range nodes {
		n.(*memnode.Node).Restart()
	}
	clock.Advance(10 * time.Second)
	<-lease.Done()
	require.ErrorIs(t, lease.Err(), redlock.ErrLost)
	require.NoError(t, l.Close(t.Context()))
}
