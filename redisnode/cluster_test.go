package redisnode_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/redisnode"
)

// A cluster is one node: its shards answer for the keys of their slots, each with
// an identity of its own.
func TestCluster(t *testing.T) {
	single := startCluster(t)
	addr := single.Options().Addr
	c := clusterClient(t, &redis.ClusterOptions{Addrs: []string{addr}})
	n := redisnode.New(c, redisnode.Options{})
	require.Equal(t, addr, n.Name())
	for i, key := range oddKeys {
		vote := acquire(t, n, key, i+1)
		require.True(t, vote.Granted, "%q", key)
		require.Equal(t, runID(t, addr), vote.Incarnation)
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

// Several clients of a cluster, whose connections break at any time, and whose slots move
// from one server to another while they are in use.
func TestHistoriesOfClusters(t *testing.T) {
	play := func(t *testing.T, servers ...*redis.Client) {
		t.Helper()
		var faults testserver.Unsound
		faults.Break(150)
		opts := redis.ClusterOptions{Dialer: faults.Dial}
		for _, s := range servers {
			opts.Addrs = append(opts.Addrs, s.Options().Addr)
		}
		var clients []redlock.Node
		for range 4 {
			n := redisnode.New(clusterClient(t, &opts), redisnode.Options{Durable: true})
			t.Cleanup(func() { _ = n.Close() })
			clients = append(clients, n)
		}
		nodetest.Linearizable(t, clients, 60)
	}
	t.Run("unsound", func(t *testing.T) { play(t, startCluster(t)) })
	t.Run("resharded", func(t *testing.T) {
		a, b := startCluster(t), startClusterServer(t)
		meet(t, a, b)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		moved := make(chan int, 1)
		go func() { moved <- reshard(ctx, t, a, b) }()
		play(t, a, b)
		stop()
		require.Positive(t, <-moved)
	})
}

func startClusterServer(t *testing.T) *redis.Client {
	t.Helper()
	s := testserver.StartRedis(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no")
	return client(t, &redis.Options{Addr: s.Addr()})
}

// startCluster starts a cluster of one server and gives a client of that.
func startCluster(t *testing.T) *redis.Client {
	t.Helper()
	c := startClusterServer(t)
	require.NoError(t, c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	for ctx := within(t, patience); c.Set(ctx, "x", "", 0).Err() != nil; {
		require.NoError(t, ctx.Err(), "the cluster does not come up")
	}
	return c
}

func clusterClient(t *testing.T, opts *redis.ClusterOptions) *redis.ClusterClient {
	t.Helper()
	c := redis.NewClusterClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// meet makes a server part of another one's cluster.
func meet(t *testing.T, first, second *redis.Client) {
	t.Helper()
	host, port := split(first)
	require.NoError(t, second.ClusterMeet(t.Context(), host, port).Err())
	knows := func(c *assert.CollectT, who, whom *redis.Client) {
		require.NoError(c, who.Do(t.Context(), "CLUSTER", "COUNT-FAILURE-REPORTS", clusterID(t, whom)).Err())
		require.Contains(c, who.ClusterInfo(t.Context()).Val(), "cluster_state:ok")
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		knows(c, first, second)
		knows(c, second, first)
	}, patience, 100*time.Millisecond)
}

func split(c *redis.Client) (host, port string) {
	host, port, _ = net.SplitHostPort(c.Options().Addr)
	return host, port
}

// clusterID is a server's name in its cluster; none if it does not tell.
func clusterID(t *testing.T, of *redis.Client) string {
	id, _ := of.Do(t.Context(), "CLUSTER", "MYID").Text()
	return id
}

// reshard moves slots of keys that are locked to the other server, each once, until the
// context ends, and counts them.
func reshard(ctx context.Context, t *testing.T, a, b *redis.Client) (moved int) {
	seen := map[uint16]bool{}
	for ctx.Err() == nil {
		for _, way := range [][2]*redis.Client{{a, b}, {b, a}} {
			for _, key := range way[0].Keys(ctx, "redlock:{*}").Val() {
				slot := slot(key)
				if seen[slot] {
					continue
				}
				seen[slot] = true
				if err := move(ctx, t, slot, way[0], way[1]); err != nil {
					assert.Error(t, ctx.Err(), "%v", err)
					return moved
				}
				moved++
			}
		}
	}
	return moved
}

// move does as redis-cli does to move a slot.
func move(ctx context.Context, t *testing.T, slot uint16, from, to *redis.Client) error {
	source, target := clusterID(t, from), clusterID(t, to)
	host, port := split(to)
	set := func(at *redis.Client, words ...any) error {
		return at.Do(ctx, append([]any{"CLUSTER", "SETSLOT", slot}, words...)...).Err()
	}
	if err := set(to, "IMPORTING", source); err != nil {
		return err
	}
	if err := set(from, "MIGRATING", target); err != nil {
		return err
	}
	for {
		keys, err := from.ClusterGetKeysInSlot(ctx, int(slot), 1).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		if err := from.Migrate(ctx, host, port, keys[0], 0, patience).Err(); err != nil {
			return err
		}
	}
	if err := set(to, "NODE", target); err != nil {
		return err
	}
	return set(from, "NODE", target)
}
