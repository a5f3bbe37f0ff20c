//go:build !linux

package redlock

import "time"

func bootTime() time.Duration { return goMonotonic() }
