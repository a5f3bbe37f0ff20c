package mysqlnode_test

import (
	"testing"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
	"github.com/quorumlock/redlock/nodetest"
)

func TestConformance(t *testing.T) {
	bothModes(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode) {
		ready(t, s, inMode(mode))
		nodetest.Run(t, func(t *testing.T) redlock.Node { return node(t, s.Addr(), inMode(mode)) },
			nodetest.Restart(func(t *testing.T, _ redlock.Node) { s.Restart() }),
			nodetest.Freeze(func(t *testing.T, _ redlock.Node) func() {
				s.Stop()
				return s.Cont
			}))
	})
}
