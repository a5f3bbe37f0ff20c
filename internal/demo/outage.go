package demo

import (
	"fmt"
	"sync"
	"time"
)

// outage is the life of the killed server.
type outage struct {
	mu       sync.Mutex
	node     string
	down, up time.Duration
	acquired int  // locks while it was down
	back     bool // it has voted since
}

func (o *outage) began(node string, now time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.node, o.down = node, now
}

func (o *outage) ended(now time.Duration, acquired int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up, o.acquired = now, acquired
}

// answered reports how long after its return the server first voted, once. Only
// a vote on a request sent after the return counts.
func (o *outage) answered(node string, voted bool, sent time.Duration) (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.up == 0 || o.back || !voted || node != o.node || sent < o.up {
		return 0, false
	}
	o.back = true
	return sent - o.up, true
}

func (o *outage) downAt() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down
}

func (o *outage) isDown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down != 0 && o.up == 0
}

func (o *outage) isOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.back
}

func (o *outage) check() Check {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := Check{Name: "node outage", Status: Held}
	switch {
	case o.up == 0:
		c.Status, c.Detail = Skipped, "real servers are not killed"
	case o.acquired == 0:
		c.Status, c.Detail = Failed, fmt.Sprintf("nobody got the lock in the %s that %s was down", seconds(o.up-o.down), o.node)
	case !o.back:
		c.Status, c.Detail = Failed, fmt.Sprintf("%s came back but did not vote again", o.node)
	default:
		c.Detail = fmt.Sprintf("%s in %s without %s; it is back", plural(o.acquired, "acquisition"), seconds(o.up-o.down), o.node)
	}
	return c
}
