package mysqlnode_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
	"github.com/quorumlock/redlock/nodetest"
)

// Several clients of a server. Leases outlive connections, which break at any time, and
// the server, which is killed.
func TestHistories(t *testing.T) {
	bothModes(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode) {
		ready(t, s, inMode(mode))
		t.Run("sound", func(t *testing.T) {
			var clients []redlock.Node
			for range 4 {
				clients = append(clients, node(t, s.Addr(), inMode(mode)))
			}
			nodetest.Linearizable(t, clients, 60)
		})
		if mode != mysqlnode.Lease {
			return
		}
		t.Run("unsound", func(t *testing.T) {
			var faults testserver.Unsound
			mysql.RegisterDialContext("unsound", func(ctx context.Context, addr string) (net.Conn, error) {
				return faults.Dial(ctx, "tcp", addr)
			})
			t.Cleanup(func() { mysql.DeregisterDialContext("unsound") })
			faults.Break(150)
			var clients []redlock.Node
			for range 4 {
				db := database(t, "root@unsound("+s.Addr()+")/"+testserver.MariaDBDatabase+"?multiStatements=true")
				n := mysqlnode.New(db, mysqlnode.Options{Mode: mode})
				t.Cleanup(func() { _ = n.Close() })
				clients = append(clients, n)
			}
			nodetest.Linearizable(t, clients, 60)
		})
		t.Run("killed", func(t *testing.T) {
			defer s.RestartOften(500 * time.Millisecond)()
			nodetest.Linearizable(t, []redlock.Node{node(t, s.Addr()), node(t, s.Addr()), node(t, s.Addr()), node(t, s.Addr())}, 30)
		})
	})
}
