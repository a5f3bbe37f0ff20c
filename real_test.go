package redlock_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// realCluster is a Locker on real redis-servers, which are declared durable: they
// are young, and nothing in these tests restarts them.
type realCluster struct {
	servers []*testserver.Redis
	nodes   []redlock.Node
	locker  *redlock.Locker
}

func newRealCluster(t *testing.T, n int, opts redlock.Options) *realCluster {
	t.Helper()
	c := &realCluster{}
	for range n {
		server := testserver.StartRedis(t)
		node := redisnode.New(nil, redisnode.Options{Addr: server.Addr(), Durable: true})
		t.Cleanup(func() { _ = node.Close() })
		c.servers = append(c.servers, server)
		c.nodes = append(c.nodes, node)
	}
	var err error
	c.locker, err = redlock.New(c.nodes, opts)
	require.NoError(t, err)
	return c
}

// TestMain keeps go-redis from writing of servers that these tests stop.
func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// locked are the keys that are locked on a server.
func locked(t *testing.T, server *testserver.Redis) []string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "redlock:*").Result()
	require.NoError(t, err)
	return slices.DeleteFunc(keys, func(key string) bool { return key[len(key)-1] != '}' }) // fences and tombstones stay a while
}

// With one server of five frozen, Lock and Unlock are as quick as before: nobody
// waits for it. The bound is far from the noise of a busy machine and well below
// the node timeout, which is what waiting would cost. Once the server goes on, no
// key is left locked on it, long before a TTL frees it.
func TestFrozenServerOfFive(t *testing.T) {
	const nodeTimeout = 3 * time.Second
	c := newRealCluster(t, 5, redlock.Options{TTL: 5 * time.Minute, NodeTimeout: nodeTimeout})
	round := func(i int) time.Duration {
		start := time.Now()
		lease, err := c.locker.Lock(t.Context(), fmt.Sprintf("key-%d", i))
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))
		return time.Since(start)
	}
	median := func(first int) time.Duration {
		var took []time.Duration
		for i := range 40 {
			took = append(took, round(first+i))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	healthy := median(0)
	c.servers[2].Stop()
	frozen := median(1000)
	t.Logf("median of lock and unlock: %v healthy, %v with one server frozen", healthy, frozen)
	assert.Less(t, frozen, nodeTimeout/4)

	c.servers[2].Cont()
	require.Eventually(t, func() bool { return len(locked(t, c.servers[2])) == 0 }, time.Minute, 50*time.Millisecond)
	require.NoError(t, c.locker.Close(t.Context()))
	for _, server := range c.servers {
		assert.Empty(t, locked(t, server))
	}
}

// A thousand goroutines on a hundred keys and five servers: nobody holds a key
// together with another, tokens grow with every holder of a key, and nothing is
// left when the Locker is closed.
func TestThousandGoroutines(t *testing.T) {
	duration := 30 * time.Second
	if testing.Short() {
		duration = 5 * time.Second
	}
	before := goleak.IgnoreCurrent()
	// A machine that runs a thousand goroutines under the race detector keeps
	// votes waiting: time enough for them, and no giving up.
	c := newRealCluster(t, 5, redlock.Options{TTL: 20 * time.Second, NodeTimeout: 4 * time.Second, OutageWait: -1})
	crowd := newCrowd(100)
	crowd.run(t, c.locker, 1000, duration)
	require.NoError(t, c.locker.Close(context.Background()))
	crowd.check(t)
	for i, server := range c.servers {
		assert.Empty(t, locked(t, server), "server %d", i)
	}
	for _, node := range c.nodes {
		require.NoError(t, node.(*redisnode.Node).Close())
	}
	for _, server := range c.servers {
		server.Close()
	}
	goleak.VerifyNone(t, before)
}
