package redisnode_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/redisnode"
)

// Several clients of a server, whose connections are sound or break at any time, or
// which is killed.
func TestHistories(t *testing.T) {
	for name, tc := range map[string]struct {
		oneIn  int
		opts   redisnode.Options
		denied string
		server []string
		killed bool
	}{
		"sound":                  {},
		"unsound":                {oneIn: 150},
		"proxied":                {oneIn: 150, opts: redisnode.Options{Proxied: true}},
		"not to be sealed":       {oneIn: 150, denied: "-client|kill"},
		"without plain commands": {oneIn: 150, denied: "-restore"},
		"killed":                 {server: []string{"--appendonly", "yes", "--appendfsync", "always"}, killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := testserver.StartRedis(t, tc.server...)
			if tc.denied != "" {
				require.NoError(t, client(t, &redis.Options{Addr: s.Addr()}).Do(t.Context(), "ACL", "SETUSER", "default", tc.denied).Err())
			}
			var faults testserver.Unsound
			faults.Break(tc.oneIn)
			var clients []redlock.Node
			for range 4 {
				c := client(t, &redis.Options{Addr: s.Addr(), Dialer: faults.Dial, MaxRetries: -1})
				tc.opts.Durable = true
				n := redisnode.New(c, tc.opts)
				t.Cleanup(func() { _ = n.Close() })
				clients = append(clients, n)
			}
			if tc.killed {
				defer s.RestartOften(300 * time.Millisecond)()
			}
			nodetest.Linearizable(t, clients, 100)
		})
	}
}
