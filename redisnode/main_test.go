package redisnode_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// patience is how long a test waits for what must happen. Nothing is asserted to
// happen sooner, so a slow machine only makes tests slow.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startMini(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	return m
}

// node makes a node with its own client.
func node(t *testing.T, addr string, change ...func(*redisnode.Options)) *redisnode.Node {
	t.Helper()
	opts := redisnode.Options{Addr: addr}
	for _, f := range change {
		f(&opts)
	}
	n := redisnode.New(nil, opts)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func client(t *testing.T, opts *redis.Options) *redis.Client {
	t.Helper()
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func owner(i int) string { return fmt.Sprintf("%032x", i) }

func acquire(t *testing.T, n redlock.Node, key string, who int) redlock.Vote {
	t.Helper()
	vote, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: key, Owner: owner(who), TTL: time.Minute})
	require.NoError(t, err)
	return vote
}

func release(t *testing.T, n redlock.Node, key string, who int) {
	t.Helper()
	require.NoError(t, n.Release(within(t, patience), redlock.ReleaseRequest{Key: key, Owner: owner(who)}))
}

// onBoth runs a test on an embedded server and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("miniredis", func(t *testing.T) { test(t, startMini(t).Addr()) })
	t.Run("redis", func(t *testing.T) { test(t, testserver.StartRedis(t).Addr()) })
}
