package zknode_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/zknode"
)

// patience is how long a test waits for what must happen. Nothing is asserted to
// happen sooner, so a slow machine only makes tests slow.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(clientVar) != "" {
		holdUntilKilled()
	}
	goleak.VerifyTestMain(m)
}

// server starts a ZooKeeper for sessions as long as tests have patience.
func server(t *testing.T) *testserver.ZooKeeper {
	t.Helper()
	return testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: time.Hour})
}

// node makes a node with its own connection.
func node(t *testing.T, addr string, change ...func(*zknode.Options)) *zknode.Node {
	t.Helper()
	opts := zknode.Options{Servers: []string{addr}, SessionTimeout: 2 * time.Minute, Durable: true}
	for _, f := range change {
		f(&opts)
	}
	n := zknode.New(nil, opts)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

func session(timeout time.Duration) func(*zknode.Options) {
	return func(o *zknode.Options) { o.SessionTimeout = timeout }
}

type silence struct{}

func (silence) Printf(string, ...any) {}

// connect makes a connection of the test's own.
func connect(t *testing.T, addr string, timeout time.Duration) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{addr}, timeout, zk.WithLogger(silence{}), zk.WithLogInfo(false))
	require.NoError(t, err)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for range events {
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-drained
	})
	require.Eventually(t, func() bool { return conn.State() == zk.StateHasSession }, patience, time.Millisecond)
	return conn
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func owner(i int) string { return fmt.Sprintf("%032x", i) }

func acquireFor(t *testing.T, n redlock.Node, key string, who int, ttl time.Duration) redlock.Vote {
	t.Helper()
	vote, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: key, Owner: owner(who), TTL: ttl})
	require.NoError(t, err)
	return vote
}

func acquire(t *testing.T, n redlock.Node, key string, who int) redlock.Vote {
	t.Helper()
	return acquireFor(t, n, key, who, time.Minute)
}

func release(t *testing.T, n redlock.Node, key string, who int) {
	t.Helper()
	require.NoError(t, n.Release(within(t, patience), redlock.ReleaseRequest{Key: key, Owner: owner(who)}))
}

func inspect(t *testing.T, n redlock.Node, key string) redlock.NodeState {
	t.Helper()
	state, err := n.Inspect(within(t, patience), key)
	require.NoError(t, err)
	return state
}

// freed waits until a key is free, and tells how long that took.
func freed(t *testing.T, n redlock.Node, key string) time.Duration {
	t.Helper()
	start := time.Now()
	require.Eventually(t, func() bool { return !inspect(t, n, key).Held }, patience, 5*time.Millisecond)
	return time.Since(start)
}
