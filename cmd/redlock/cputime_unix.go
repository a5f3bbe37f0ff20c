//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what this process has used of it; zero if nobody says.
func processorTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
