package zknode_test

import (
	"testing"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/zknode"
)

// The kit asks for TTLs of up to a day, so the sessions are longer still.
const longSession = 40 * time.Hour

func TestConformance(t *testing.T) {
	t.Parallel()
	s := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: longSession})
	long := session(longSession)
	restart := nodetest.Restart(func(*testing.T, redlock.Node) { s.Restart() })
	freeze := nodetest.Freeze(func(*testing.T, redlock.Node) func() {
		s.Stop()
		return s.Cont
	})
	t.Run("own connections", func(t *testing.T) {
		nodetest.Run(t, func(t *testing.T) redlock.Node { return node(t, s.Addr(), long) }, restart, freeze)
	})
	t.Run("one node", func(t *testing.T) {
		n := node(t, s.Addr(), long)
		nodetest.Run(t, func(*testing.T) redlock.Node { return n }, restart, freeze)
	})
	t.Run("user's connection", func(t *testing.T) {
		conn := connect(t, s.Addr(), longSession)
		nodetest.Run(t, func(t *testing.T) redlock.Node {
			n := zknode.New(conn, zknode.Options{SessionTimeout: longSession, Durable: true})
			t.Cleanup(func() { _ = n.Close() })
			return n
		}, restart, freeze)
	})
	// A new root is young, as a server that lost everything is.
	t.Run("not durable", func(t *testing.T) {
		nodetest.Run(t, func(t *testing.T) redlock.Node {
			return node(t, s.Addr(), long, func(o *zknode.Options) { o.Durable, o.Root = false, "/young" })
		})
	})
}
