package memnode

import (
	"context"
	"time"
)

// Restart does what a restart does to a server that keeps its data in memory:
// every grant, counter and tombstone is gone, the incarnation is a new one, and
// the age of each vote counts from now. A durable node is not changed.
func (n *Node) Restart() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.opts.Durable {
		return
	}
	n.begin()
	n.lostAt = n.clock.Now()
}

// SetDown makes every call fail with err, and do nothing else, until it is
// called with nil. Time goes on meanwhile: grants expire.
func (n *Node) SetDown(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = err
}

// Hang freezes the node, or lets it go on. A call to a frozen node, even to one
// that is down, waits until its context ends, and then fails without having done
// anything. The calls that still wait when the node goes on are handled then.
// Time goes on meanwhile: grants expire.
func (n *Node) Hang(frozen bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case frozen && n.thawed == nil:
		n.thawed = make(chan struct{})
	case !frozen && n.thawed != nil:
		close(n.thawed)
		n.thawed = nil
	}
}

// SetSkew puts the node's date ahead of its Clock's by d, or behind if d is
// negative. It shows in Vote.Clock and in how large a hint is taken; grants
// expire as before.
func (n *Node) SetSkew(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.skew = d
}

// enter takes the node's lock for a call and reads the clock under it, so that
// no call sees a time before an earlier call's. It suffers the faults that are
// set, and does not keep the lock if it returns an error.
func (n *Node) enter(ctx context.Context) (time.Duration, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n.mu.Lock()
		thawed := n.thawed
		if thawed == nil {
			break
		}
		n.mu.Unlock()
		select {
		case <-thawed:
		case <-ctx.Done():
		}
	}
	if n.down != nil {
		defer n.mu.Unlock()
		return 0, n.down
	}
	now := n.clock.Now()
	n.table.purge(now)
	return now, nil
}
