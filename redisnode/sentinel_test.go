package redisnode_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// startSentinel starts a Sentinel that watches a master called "locks".
func startSentinel(t *testing.T, master string) (addr string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr = free.Addr().String()
	require.NoError(t, free.Close())
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	host, masterPort, err := net.SplitHostPort(master)
	require.NoError(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor locks %s %s 1\n", port, dir, host, masterPort)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	sentinel := exec.Command("redis-server", config, "--sentinel")
	require.NoError(t, sentinel.Start())
	t.Cleanup(func() {
		_ = sentinel.Process.Kill()
		_ = sentinel.Wait()
	})
	return addr
}

// Sentinels may make another server the master and not succeed in telling the old one,
// which goes on granting. The stream's connection must not stay with it.
func TestTheStreamFollowsTheSentinels(t *testing.T) {
	old := testserver.StartRedis(t, "--rename-command", "REPLICAOF", "no-replicaof", "--rename-command", "SLAVEOF", "no-slaveof")
	next := testserver.StartRedis(t)
	host, port, err := net.SplitHostPort(old.Addr())
	require.NoError(t, err)
	require.NoError(t, client(t, &redis.Options{Addr: next.Addr()}).ReplicaOf(t.Context(), host, port).Err())
	watcher := startSentinel(t, old.Addr())
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: watcher})
	t.Cleanup(func() { _ = sentinel.Close() })
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		replicas, err := sentinel.Replicas(t.Context(), "locks").Result()
		require.NoError(c, err)
		require.Len(c, replicas, 1)
		require.Equal(c, "ok", replicas[0]["master-link-status"])
	}, patience, 100*time.Millisecond)

	failover := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "locks", SentinelAddrs: []string{watcher}})
	t.Cleanup(func() { _ = failover.Close() })
	n := redisnode.New(failover, redisnode.Options{Name: "locks"})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	ask := func() *redlock.Call {
		call := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: uint64(time.Now().UnixMicro())}
		together(t, n, call)
		return call
	}
	first := ask()
	require.NoError(t, first.Err)
	require.Equal(t, runID(t, old.Addr()), first.Vote.Incarnation)

	require.NoError(t, sentinel.Failover(t.Context(), "locks").Err())
	promoted := runID(t, next.Addr())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		call := ask()
		require.NoError(c, call.Err)
		require.Equal(c, promoted, call.Vote.Incarnation)
	}, patience, 100*time.Millisecond)
}
