package memnode_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var date = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func TestContractOnSystemClock(t *testing.T) {
	nodetest.Run(t, func(*testing.T) redlock.Node { return memnode.New(memnode.Options{}) },
		nodetest.Restart(restart), nodetest.Freeze(freeze))
}

func TestContractOnManualClock(t *testing.T) {
	for name, durable := range map[string]bool{"volatile": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := redlock.NewManualClock(date)
			nodetest.Run(t, func(*testing.T) redlock.Node {
				return memnode.New(memnode.Options{Clock: clock, Durable: durable})
			}, nodetest.Sleep(clock.Advance), nodetest.Restart(restart), nodetest.Freeze(freeze))
		})
	}
}

func restart(_ *testing.T, n redlock.Node) { n.(*memnode.Node).Restart() }

func freeze(_ *testing.T, n redlock.Node) (thaw func()) {
	n.(*memnode.Node).Hang(true)
	return func() { n.(*memnode.Node).Hang(false) }
}
