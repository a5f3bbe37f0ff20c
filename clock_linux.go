package redlock

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is CLOCK_BOOTTIME, or Go's monotonic clock where a sandbox forbids
// it. The choice is made once: the two have different origins.
func bootTime() time.Duration {
	if !hasBootTime {
		return goMonotonic()
	}
	return boot.now(goTime())
}

var hasBootTime = func() bool {
	var ts unix.Timespec
	return unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil
}()

var boot = suspendClock{time: goTime, read: func() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // it answered at start, so it answers now
	return time.Duration(ts.Nano())
}}

// suspendClock gives CLOCK_BOOTTIME at the price of time.Now, which needs no
// system call. The two clocks differ by the time spent suspended, so that
// difference is read anew only if there may have been a suspend: if the wall
// clock, which a suspend moves too, has moved against the monotonic one, and
// every so often in any case.
type suspendClock struct {
	time   func() (monotonic, wall time.Duration)
	read   func() time.Duration // CLOCK_BOOTTIME
	latest atomic.Pointer[bootReading]
}

// bootReading is what one look at the clocks showed.
type bootReading struct {
	ahead time.Duration // CLOCK_BOOTTIME less the monotonic clock
	wall  time.Duration // wall clock less the monotonic clock
	at    time.Duration // on the monotonic clock
}

const (
	// Readings are not taken at one instant, and a suspend is longer than that.
	clockJitter = time.Millisecond
	// How long a reading serves while nothing points to a suspend.
	readingAge = 20 * time.Millisecond
	// How often the clocks are looked at, if the thread stands still in between.
	mostLooks = 4
)

func (c *suspendClock) now(monotonic, wall time.Duration) time.Duration {
	r := c.latest.Load()
	if r == nil || monotonic-r.at > readingAge || (wall-monotonic-r.wall).Abs() > clockJitter {
		r = c.keep(c.look())
	}
	return monotonic + r.ahead
}

// look looks at the clocks. The thread may stand still meanwhile, so the monotonic one
// is read on both sides, and all of it again if too long lay between them. How far
// CLOCK_BOOTTIME is ahead is reckoned from the later side: that may be too little for a
// moment, but never too much, which would hide the next suspend.
func (c *suspendClock) look() *bootReading {
	r := &bootReading{}
	for i := range mostLooks {
		before, wall := c.time()
		boot := c.read()
		after, _ := c.time()
		if ahead := boot - after; i == 0 || ahead > r.ahead {
			r.ahead = ahead
		}
		r.wall, r.at = wall-before, before
		if after-before <= clockJitter {
			break
		}
	}
	return r
}

// keep makes a reading the latest. Others may have looked meanwhile, and seen a suspend
// that this one did not. So what is ahead never gets less: Now would go back.
func (c *suspendClock) keep(next *bootReading) *bootReading {
	for {
		r := c.latest.Load()
		if r != nil && next.ahead-r.ahead < clockJitter {
			next.ahead = r.ahead // no suspend: what differs is when we looked
		}
		if c.latest.CompareAndSwap(r, next) {
			return next
		}
	}
}
