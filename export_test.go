package redlock

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// NewSteppedTimer is for tests of long timers on a clock of their own.
func NewSteppedTimer(now func() time.Duration, d time.Duration, f func()) Timer {
	return newSteppedTimer(now, d, f)
}

// LeaveOutClockGuard shows what a Locker would do without it. It must be called
// before the first lock.
func LeaveOutClockGuard(l *Locker) { l.cfg.Without = protocol.ClockGuard }
