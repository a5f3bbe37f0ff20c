package nodetest_test

import (
	"testing"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/nodetest"
)

// The test of a node that keeps time by a clock the test can move. A node whose
// server has a clock of its own needs no Sleep.
func ExampleRun() {
	_ = func(t *testing.T) { // func TestContract(t *testing.T)
		clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
		nodetest.Run(t,
			func(*testing.T) redlock.Node { return memnode.New(memnode.Options{Clock: clock}) },
			nodetest.Sleep(clock.Advance),
			nodetest.Restart(func(_ *testing.T, n redlock.Node) { n.(*memnode.Node).Restart() }),
			nodetest.Freeze(func(_ *testing.T, n redlock.Node) (thaw func()) {
				n.(*memnode.Node).Hang(true)
				return func() { n.(*memnode.Node).Hang(false) }
			}),
		)
	}
}
