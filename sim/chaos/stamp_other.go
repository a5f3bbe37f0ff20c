//go:build !unix

package chaos

import "time"

// stamp would be the machine's monotonic clock; processes cannot be frozen here, and
// Start refuses to.
func stamp() time.Duration { return time.Since(began) }

var began = time.Now()
