package zknode_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/zknode"
)

// New has one result, so that a quorum is written down in one expression; what is
// wrong must then come out of the first call, and never as a panic.
func TestInvalidOptions(t *testing.T) {
	t.Parallel()
	conn := connect(t, server(t).Addr(), time.Minute)
	h := []string{"h"}
	for name, tc := range map[string]struct {
		conn *zk.Conn
		opts zknode.Options
		want string
	}{
		"nothing":         {nil, zknode.Options{}, "neither a connection nor Options.Servers"},
		"url":             {nil, zknode.Options{Servers: []string{"zk://me:hunter2@host:2181"}}, "not URLs"},
		"list":            {nil, zknode.Options{Servers: []string{"a:2181,b:2181"}}, "lists"},
		"no host":         {nil, zknode.Options{Servers: []string{":2181"}}, "host"},
		"chroot":          {nil, zknode.Options{Servers: []string{"h:2181/locks"}}, "not URLs"},
		"root":            {nil, zknode.Options{Servers: h, Root: "locks"}, "begin with '/'"},
		"root of theirs":  {nil, zknode.Options{Servers: h, Root: "/zookeeper/locks"}, "ZooKeeper's own"},
		"root with dots":  {nil, zknode.Options{Servers: h, Root: "/a/../b"}, "Root must be a path"},
		"root with holes": {nil, zknode.Options{Servers: h, Root: "/a//b"}, "Root must be a path"},
		"root with NUL":   {nil, zknode.Options{Servers: h, Root: "/a\x00"}, "Root must be a path"},
		"fence retention": {nil, zknode.Options{Servers: h, FenceRetention: redlock.HintHorizon}, "FenceRetention"},
		"tombstone":       {nil, zknode.Options{Servers: h, TombstoneRetention: -1}, "TombstoneRetention"},
		"session":         {nil, zknode.Options{Servers: h, SessionTimeout: -1}, "SessionTimeout"},
		"long session":    {nil, zknode.Options{Servers: h, SessionTimeout: 1000 * time.Hour}, "SessionTimeout"},
		"both":            {conn, zknode.Options{Servers: h, SessionTimeout: time.Second}, "cannot change the one given"},
		"untold session":  {conn, zknode.Options{}, "SessionTimeout is needed"},
	} {
		t.Run(name, func(t *testing.T) {
			n := zknode.New(tc.conn, tc.opts)
			require.ErrorContains(t, acquireErr(t.Context(), n), tc.want)
			_, err := n.Inspect(t.Context(), "k")
			require.ErrorContains(t, err, tc.want)
			_, err = n.Probe(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}), tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, n.Name(), "hunter2")
			require.NoError(t, n.Close())
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	name := func(opts zknode.Options) string { return zknode.New(nil, opts).Name() }
	require.Equal(t, "a:2181,b:7/redlock", name(zknode.Options{Servers: []string{"a", "b:7"}}))
	require.Equal(t, "[::1]:2181,[::2]:7/x", name(zknode.Options{Servers: []string{"::1", "[::2]:7"}, Root: "/x"}))
	require.Equal(t, "a:2181", name(zknode.Options{Servers: []string{"a"}, Root: "/"}))
	require.Equal(t, "n", name(zknode.Options{Servers: []string{"a"}, Name: "n"}))
}

// The ensemble's own root is a place like any other.
func TestRootOfAll(t *testing.T) {
	t.Parallel()
	n := node(t, server(t).Addr(), func(o *zknode.Options) { o.Root = "/" })
	require.True(t, acquire(t, n, "k", 1).Granted)
	release(t, n, "k", 1)
}

// Close must not end a connection that others use, nor leave a grant on it that
// nobody would end.
func TestCloseSparesAUsersConnection(t *testing.T) {
	t.Parallel()
	s := server(t)
	conn, other := connect(t, s.Addr(), time.Minute), node(t, s.Addr())
	n := zknode.New(conn, zknode.Options{SessionTimeout: time.Minute, Name: "mine"})
	require.Equal(t, "mine", n.Name())
	require.True(t, acquireFor(t, n, "k", 1, 10*time.Second).Granted)
	require.NoError(t, n.Close())
	require.False(t, inspect(t, other, "k").Held)
	_, _, err := conn.Exists("/")
	require.NoError(t, err)
	require.ErrorContains(t, acquireErr(t.Context(), n), "closed")

	own := node(t, s.Addr())
	require.True(t, acquire(t, own, "k", 1).Granted)
	require.NoError(t, own.Close())
	require.NoError(t, own.Close(), "twice does no harm")
	require.False(t, inspect(t, other, "k").Held)
	require.ErrorContains(t, acquireErr(t.Context(), own), "closed")
	require.NoError(t, zknode.New(nil, zknode.Options{Servers: []string{"h"}}).Close(), "it was never used")
}

// A grant on a connection that never ends is ended by the client, on its clock.
func TestTTLRunsOnTheClock(t *testing.T) {
	t.Parallel()
	s := server(t)
	clock := redlock.NewManualClock(time.Now())
	n, other := node(t, s.Addr(), func(o *zknode.Options) { o.Clock = clock }), node(t, s.Addr())
	vote, err := n.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: 10 * time.Second})
	require.NoError(t, err)
	clock.Advance(6 * time.Second)
	_, err = n.Extend(t.Context(), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: 10 * time.Second})
	require.NoError(t, err)
	clock.Advance(9 * time.Second)
	time.Sleep(50 * time.Millisecond)
	require.True(t, inspect(t, other, "k").Held)
	clock.Advance(time.Second)
	freed(t, other, "k")
}

func TestProbe(t *testing.T) {
	t.Parallel()
	s := server(t)
	n := node(t, s.Addr())
	vote := acquire(t, n, "k", 1)
	info, err := n.Probe(within(t, patience))
	require.NoError(t, err)
	require.Equal(t, "zookeeper", info.Kind)
	require.NotEmpty(t, info.Version)
	require.Equal(t, vote.Incarnation, info.Incarnation)
	require.WithinDuration(t, time.Now(), info.Clock, time.Minute)
	require.True(t, info.Durable)
	require.Zero(t, info.Age)
	warnings := strings.Join(info.Warnings, "\n")
	require.Contains(t, warnings, "single server")
	require.Contains(t, warnings, "forceSync")

	// A connection does not tell the way to its server.
	users := zknode.New(connect(t, s.Addr(), time.Minute), zknode.Options{SessionTimeout: time.Minute})
	info, err = users.Probe(within(t, patience))
	require.NoError(t, err)
	require.Equal(t, vote.Incarnation, info.Incarnation)
	require.Empty(t, info.Version)
	require.Empty(t, info.Warnings)
	require.Positive(t, info.Age)
}

// A server behind TLS, and one that is not.
func TestTLSErrors(t *testing.T) {
	t.Parallel()
	secure := func(o *zknode.Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }
	n := node(t, listen(t, answerHTTP), secure)
	require.ErrorContains(t, acquireErr(within(t, patience), n), "does not speak TLS")
	n = node(t, listen(t, func(c net.Conn) { _ = c.Close() }), secure)
	require.ErrorContains(t, acquireErr(within(t, patience), n), "the server closed the connection")
}
