package redisnode_test

import (
	"context"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/redisnode"
)

// Several clients of a server, whose connections are sound or break at any time.
func TestHistories(t *testing.T) {
	for name, oneIn := range map[string]int{"sound": 0, "unsound": 150} {
		t.Run(name, func(t *testing.T) {
			s := testserver.StartRedis(t)
			var faults testserver.Unsound
			faults.Break(oneIn)
			var clients []redlock.Node
			for range 4 {
				c := client(t, &redis.Options{MaxRetries: -1, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
					if err != nil {
						return nil, err
					}
					return faults.Conn(conn), nil
				}})
				n := redisnode.New(c, redisnode.Options{Durable: true})
				t.Cleanup(func() { _ = n.Close() })
				clients = append(clients, n)
			}
			nodetest.Linearizable(t, clients, 200)
		})
	}
}
