package zknode_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/zknode"
)

// Several clients of a server, whose connections are sound or break at any time, or
// which is killed.
func TestHistories(t *testing.T) {
	t.Parallel()
	s := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: longSession})
	for name, oneIn := range map[string]int{"sound": 0, "unsound": 150, "killed": 0} {
		t.Run(name, func(t *testing.T) {
			var faults testserver.Unsound
			faults.Break(oneIn)
			var clients []redlock.Node
			for range 4 {
				clients = append(clients, node(t, s.Addr(), session(longSession), func(o *zknode.Options) {
					o.Root = "/" + name
					o.Dialer = func(network, addr string, _ time.Duration) (net.Conn, error) {
						return faults.Dial(context.Background(), network, addr)
					}
				}))
			}
			if name == "killed" {
				defer s.RestartOften(2 * time.Second)()
			}
			nodetest.Linearizable(t, clients, 60)
			faults.Break(0)
		})
	}
}
