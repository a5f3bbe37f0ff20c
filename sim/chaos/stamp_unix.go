//go:build unix

package chaos

import (
	"time"

	"golang.org/x/sys/unix"
)

// stamp is the clock of histories: the machine's monotonic one, which all of its
// processes read alike.
func stamp() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // there is no Unix without it
	}
	return time.Duration(ts.Nano())
}
