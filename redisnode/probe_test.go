package redisnode_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

func probe(t *testing.T, n redlock.Prober) redlock.NodeInfo {
	t.Helper()
	info, err := n.Probe(within(t, patience))
	require.NoError(t, err)
	require.Equal(t, "redis", info.Kind)
	require.WithinDuration(t, time.Now(), info.Clock, time.Hour)
	return info
}

func TestProbe(t *testing.T) {
	s := testserver.StartRedis(t)
	n := node(t, s.Addr())
	info := probe(t, n)
	require.Equal(t, runID(t, s.Addr()), info.Incarnation)
	require.NotEmpty(t, info.Version)
	require.Positive(t, info.Age)
	require.False(t, info.Durable)
	require.Empty(t, info.Warnings)
	require.Equal(t, info.Incarnation, acquire(t, n, "k", 1).Incarnation)
}

// A bad setting costs a lock one day; the probe is where it can be seen before.
func TestProbeWarns(t *testing.T) {
	durable := func(o *redisnode.Options) { o.Durable = true }
	for name, tc := range map[string]struct {
		args   []string
		change func(*redisnode.Options)
		want   string
	}{
		"eviction":        {[]string{"--maxmemory-policy", "allkeys-lru"}, nil, "noeviction"},
		"replica":         {[]string{"--replicaof", "127.0.0.1 1"}, nil, "replica"},
		"no aof":          {nil, durable, "appendonly is off"},
		"lazy aof":        {[]string{"--appendonly", "yes"}, durable, "appendfsync is everysec"},
		"durable":         {[]string{"--appendonly", "yes", "--appendfsync", "always"}, durable, ""},
		"durable, untold": {[]string{"--appendonly", "yes", "--appendfsync", "always"}, nil, "declare the node Durable"},
		"CONFIG hidden":   {[]string{"--appendonly", "yes", "--rename-command", "CONFIG", ""}, durable, "does not tell"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testserver.StartRedis(t, tc.args...)
			change := tc.change
			if change == nil {
				change = func(*redisnode.Options) {}
			}
			info := probe(t, node(t, s.Addr(), change))
			if tc.want == "" {
				require.Empty(t, info.Warnings)
				require.True(t, info.Durable)
				require.Zero(t, info.Age)
				return
			}
			require.Contains(t, strings.Join(info.Warnings, "\n"), tc.want)
		})
	}
}

// Embedded servers serve in tests; a probe must not fail there.
func TestProbeOfAnEmbeddedServer(t *testing.T) {
	info := probe(t, node(t, startMini(t).Addr()))
	require.Empty(t, info.Incarnation)
	require.Zero(t, info.Age)
}
