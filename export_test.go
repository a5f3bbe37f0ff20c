package redlock

import "time"

// NewSteppedTimer is for tests of long timers on a clock of their own.
func NewSteppedTimer(now func() time.Duration, d time.Duration, f func()) Timer {
	return newSteppedTimer(now, d, f)
}
