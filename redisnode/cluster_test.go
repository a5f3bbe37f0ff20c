package redisnode_test

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// A cluster is one node: its shards answer for the keys of their slots, each with
// an identity of its own.
func TestCluster(t *testing.T) {
	s := testserver.StartRedis(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
	single := client(t, &redis.Options{Addr: s.Addr()})
	require.NoError(t, single.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	waitForCluster(t, single)

	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr()}})
	t.Cleanup(func() { _ = c.Close() })
	n := redisnode.New(c, redisnode.Options{})
	require.Equal(t, s.Addr(), n.Name())
	for i, key := range oddKeys {
		vote := acquire(t, n, key, i+1)
		require.True(t, vote.Granted, "%q", key)
		require.Equal(t, runID(t, s.Addr()), vote.Incarnation)
		require.Positive(t, vote.Age)
		vote, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: key, Owner: owner(i + 1), Fence: vote.Fence, TTL: patience})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		release(t, n, key, i+1)

		name := "redlock:{" + key + "}"
		require.EqualValues(t, slot(name), single.ClusterKeySlot(t.Context(), name).Val(), "the test computes slots as the server does")
	}
	require.Contains(t, probe(t, n).Warnings[0], "only one of its servers")
}

func waitForCluster(t *testing.T, c *redis.Client) {
	t.Helper()
	for ctx := within(t, patience); c.Set(ctx, "x", "", 0).Err() != nil; {
		require.NoError(t, ctx.Err(), "the cluster does not come up")
	}
}
