package redlock

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime reads CLOCK_BOOTTIME, or Go's monotonic clock where a sandbox
// forbids it. The choice is made once: the two have different origins.
func bootTime() time.Duration {
	if !hasBootTime {
		return goMonotonic()
	}
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // it answered at start, so it answers now
	return time.Duration(ts.Nano())
}

var hasBootTime = func() bool {
	var ts unix.Timespec
	return unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil
}()
