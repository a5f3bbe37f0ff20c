package nodetest_test

import (
	"testing"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/nodetest"
)

// TestOneServer runs all cases on one node, as against a server that is shared.
func TestOneServer(t *testing.T) {
	t.Parallel()
	node := memnode.New(memnode.Options{Durable: true})
	nodetest.Run(t, func(*testing.T) redlock.Node { return node }, nodetest.Restart(restart), nodetest.Freeze(freeze))
}

// TestCoarseGrain has a node that counts in tenths of a second.
func TestCoarseGrain(t *testing.T) {
	t.Parallel()
	clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	const grain = 100 * time.Millisecond
	nodetest.Run(t, func(*testing.T) redlock.Node {
		n := &wrapped{Node: memnode.New(memnode.Options{Clock: clock})}
		up := func(ttl time.Duration) time.Duration { return (ttl + grain - 1) / grain * grain }
		n.onAcquire = func(req *redlock.AcquireRequest) { req.TTL = up(req.TTL) }
		n.onExtend = func(req *redlock.ExtendRequest) { req.TTL = up(req.TTL) }
		return n
	}, nodetest.Sleep(clock.Advance), nodetest.Grain(grain))
}

func restart(_ *testing.T, n redlock.Node) { memory(n).Restart() }

func freeze(_ *testing.T, n redlock.Node) (thaw func()) {
	node := memory(n)
	node.Hang(true)
	return func() { node.Hang(false) }
}

func memory(n redlock.Node) *memnode.Node {
	if w, ok := n.(*wrapped); ok {
		return w.Node
	}
	return n.(*memnode.Node)
}
