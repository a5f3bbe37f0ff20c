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
}

// read looks at CLOCK_BOOTTIME. Looking takes a moment, which must not show.
func (h *hostClocks) read() time.Duration {
	h.reads++
	return 1000*time.Hour + h.monotonic + h.suspended + time.Duration(h.reads%3)*time.Microsecond
}

// A suspend counts at the first look, however short the time since the last one;
// setting the wall clock does not; and looking costs no system call as a rule.
func TestSuspendClockCountsSuspends(t *testing.T) {
	h := &hostClocks{}
	clock := suspendClock{read: h.read}
	look := func() time.Duration {
		return clock.now(h.monotonic, 400000*time.Hour+h.monotonic+h.suspended+h.set)
	}
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
