package redlock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// hostClocks are the clocks of a machine that can be suspended and whose wall
// clock can be set.
type hostClocks struct {
	monotonic, suspended, set time.Duration
	reads                     int
	early, late               time.Duration // for how long the thread stands still before and after the next read
}

func (h *hostClocks) clock() *suspendClock { return &suspendClock{time: h.time, read: h.read} }

func (h *hostClocks) time() (monotonic, wall time.Duration) {
	return h.monotonic, 400000*time.Hour + h.monotonic + h.suspended + h.set
}

// read looks at CLOCK_BOOTTIME. Looking takes a moment, which must not show.
func (h *hostClocks) read() time.Duration {
	h.reads++
	h.monotonic += h.early
	boot := 1000*time.Hour + h.monotonic + h.suspended + time.Duration(h.reads%3)*time.Microsecond
	h.monotonic += h.late
	h.early, h.late = 0, 0
	return boot
}

// A suspend counts at the first look, however short the time since the last one;
// setting the wall clock does not; and looking costs no system call as a rule.
func TestSuspendClockCountsSuspends(t *testing.T) {
	h := &hostClocks{}
	clock := h.clock()
	look := func() time.Duration { return clock.now(h.time()) }
	last := look()
	step := func(run, suspend, set time.Duration) time.Duration {
		h.monotonic, h.suspended, h.set = h.monotonic+run, h.suspended+suspend, h.set+set
		passed := look() - last
		last += passed
		return passed
	}
	for range 1000 {
		assert.Equal(t, 10*time.Microsecond, step(10*time.Microsecond, 0, 0))
	}
	assert.Equal(t, 1, h.reads)
	assert.InDelta(t, time.Hour, step(time.Microsecond, time.Hour, 0), float64(10*time.Microsecond))
	assert.Equal(t, time.Second, step(time.Second, 0, 0))
	assert.Equal(t, time.Second, step(time.Second, 0, time.Hour), "the wall clock was set")
	assert.Equal(t, time.Second, step(time.Second, 0, -time.Hour))

	// A wall clock that is set back by just as long hides a suspend for a moment.
	assert.Equal(t, time.Millisecond, step(time.Millisecond, time.Minute, -time.Minute))
	assert.InDelta(t, time.Minute+readingAge, step(readingAge, 0, 0), float64(10*time.Microsecond))
}

// A thread that the kernel, a debugger or a freezer stops between two looks would take
// the time that it stood still for a suspend, and count a later real one as nothing.
func TestSuspendClockStandsAStoppedThread(t *testing.T) {
	h := &hostClocks{}
	clock := h.clock()
	look := func() time.Duration { return clock.now(h.time()) }
	slack := float64(10 * time.Microsecond)
	start := look()
	h.monotonic += readingAge + 1
	h.early = 30 * time.Second
	look()
	assert.InDelta(t, 30*time.Second+readingAge, look()-start, slack)
	h.monotonic += time.Second
	before := look()
	h.suspended += 20 * time.Second
	assert.InDelta(t, 20*time.Second, look()-before, slack)

	t.Run("each time that it looks", func(t *testing.T) {
		read := clock.read
		clock.read = func() time.Duration { h.monotonic += 50 * time.Millisecond; return read() }
		h.monotonic += time.Second
		look()
		clock.read = read
		h.monotonic += time.Second
		before := look()
		h.suspended += 5 * time.Millisecond
		assert.InDelta(t, 5*time.Millisecond, look()-before, slack)
	})
	t.Run("and counts a suspend at that look", func(t *testing.T) {
		h.monotonic += time.Second
		before := look()
		h.suspended += 20 * time.Second
		h.late = 30 * time.Second
		assert.InDelta(t, 20*time.Second, look()-before, slack)
		assert.InDelta(t, 50*time.Second, look()-before, slack)
	})
	t.Run("at its first look", func(t *testing.T) {
		h := &hostClocks{early: time.Hour}
		clock := h.clock()
		clock.now(h.time())
		assert.InDelta(t, 1001*time.Hour, clock.now(h.time()), slack)
	})
}

// Two goroutines look at once. The slower one has seen less, and must not take back
// what the other has told of a suspend.
func TestSuspendClockNeverGoesBack(t *testing.T) {
	h := &hostClocks{}
	clock := h.clock()
	clock.now(h.time())
	h.monotonic += readingAge + 1
	read, told := clock.read, time.Duration(0)
	clock.read = func() time.Duration {
		clock.read = read
		early := read()
		h.suspended, h.set = h.suspended+time.Hour, h.set-time.Hour // nothing points to it later
		told = clock.now(h.time())
		return early
	}
	clock.now(h.time())
	assert.GreaterOrEqual(t, clock.now(h.time()), told)
}

func BenchmarkNow(b *testing.B) {
	clock := SystemClock()
	for b.Loop() {
		clock.Now()
	}
}

func TestBootTimeIsTheKernels(t *testing.T) {
	if !hasBootTime {
		t.Skip("this machine does not give CLOCK_BOOTTIME")
	}
	var before, after unix.Timespec
	assert.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &before))
	now := bootTime()
	assert.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &after))
	const slack = 2 * time.Millisecond
	assert.GreaterOrEqual(t, now, time.Duration(before.Nano())-slack)
	assert.LessOrEqual(t, now, time.Duration(after.Nano())+slack)
}
