package redisnode_test

import (
	"testing"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/redisnode"
)

func TestConformance(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		m := startMini(t)
		nodetest.Run(t, func(t *testing.T) redlock.Node { return node(t, m.Addr()) })
	})
	t.Run("redis", func(t *testing.T) {
		s := testserver.StartRedis(t)
		nodetest.Run(t, func(t *testing.T) redlock.Node { return node(t, s.Addr()) },
			nodetest.Restart(func(t *testing.T, _ redlock.Node) { s.Restart() }),
			nodetest.Freeze(func(t *testing.T, _ redlock.Node) func() {
				s.Stop()
				return s.Cont
			}))
	})
	t.Run("durable redis", func(t *testing.T) {
		s := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
		durable := func(o *redisnode.Options) { o.Durable = true }
		nodetest.Run(t, func(t *testing.T) redlock.Node { return node(t, s.Addr(), durable) },
			nodetest.Restart(func(t *testing.T, _ redlock.Node) { s.Restart() }))
	})
}
