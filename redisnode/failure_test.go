package redisnode_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

func acquireErr(ctx context.Context, n redlock.Node) error {
	_, err := n.Acquire(ctx, redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: time.Minute})
	return err
}

// dialer connects to whatever the address is at the time.
func dialer(addr *atomic.Value) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr.Load().(string))
	}
}

// waitForUptime waits until a server admits to an age, in seconds.
func waitForUptime(t *testing.T, s *testserver.Redis, seconds int) {
	t.Helper()
	c := client(t, &redis.Options{Addr: s.Addr()})
	require.Eventually(t, func() bool {
		uptime, err := strconv.Atoi(c.InfoMap(t.Context(), "server").Item("Server", "uptime_in_seconds"))
		return err == nil && uptime >= seconds
	}, patience, 100*time.Millisecond)
}

// Rule 8, with the server frozen as a machine under swap is: the driver ignores
// plain cancels, and with default options deadlines too.
func TestCallsEndWithTheirContext(t *testing.T) {
	s := testserver.StartRedis(t)
	t.Cleanup(s.Cont)
	for name, n := range map[string]redlock.Node{
		"own client":    node(t, s.Addr()),
		"user's client": redisnode.New(client(t, &redis.Options{Addr: s.Addr(), ReadTimeout: 2 * patience}), redisnode.Options{}),
	} {
		for _, warm := range []bool{false, true} {
			if warm {
				acquire(t, n, "k", 1)
			}
			s.Stop()
			t.Run(name+", deadline", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				ends(t, func() error { return acquireErr(ctx, n) }, context.DeadlineExceeded)
			})
			t.Run(name+", cancel", func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				ends(t, func() error { return acquireErr(ctx, n) }, context.Canceled)
				ends(t, func() error {
					return n.Release(ctx, redlock.ReleaseRequest{Key: "k", Owner: owner(1)})
				}, context.Canceled)
				ends(t, func() error { _, err := n.(redlock.Prober).Probe(ctx); return err }, context.Canceled)
			})
			s.Cont()
		}
	}
}

// ends demands that a call ends long before any timeout of the driver.
func ends(t *testing.T, call func() error, want error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, "redisnode 127.0.0.1:")
	case <-time.After(patience):
		require.Fail(t, "the call outlives its context")
	}
}

// A request whose reply is lost has been carried out. The driver, which may be set to
// repeat it, must not, since nobody can tell it then from one that comes later yet. When
// the Locker asks again, it must find the same grant and not a second one.
func TestLostReply(t *testing.T) {
	test := func(t *testing.T, n *redisnode.Node, proxy *testserver.Proxy) {
		t.Helper()
		acquire(t, n, "k", 2)
		release(t, n, "k", 2)
		connections := proxy.Connections()
		proxy.DropReply()
		require.Error(t, acquireErr(within(t, patience), n), "a lost reply is an unknown outcome")
		require.Equal(t, connections, proxy.Connections(), "it was tried again behind our back")
		require.EqualValues(t, 2, acquire(t, n, "k", 1).Fence, "it was granted twice")
	}
	for name, made := range map[string]func(addr string) *redisnode.Node{
		"its own client": func(addr string) *redisnode.Node { return node(t, addr) },
		"one that retries": func(addr string) *redisnode.Node {
			return redisnode.New(client(t, &redis.Options{Addr: addr}), redisnode.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, addr string) {
				proxy := testserver.StartProxy(t, addr)
				test(t, made(proxy.Addr()), proxy)
			})
		})
	}
	t.Run("cluster", func(t *testing.T) {
		addr := startCluster(t).Options().Addr
		proxy := testserver.StartProxy(t, addr)
		c := clusterClient(t, &redis.ClusterOptions{Addrs: []string{addr}, Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, proxy.Addr())
		}})
		test(t, redisnode.New(c, redisnode.Options{}), proxy)
	})
}

// What people get wrong most should not need a debugger.
func TestErrorsExplain(t *testing.T) {
	secured := testserver.StartRedis(t, "--requirepass", "correct")
	open := testserver.StartRedis(t)
	replica := testserver.StartRedis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(open.Port))
	with := func(f func(*redisnode.Options)) func(*redisnode.Options) { return f }
	for name, tc := range map[string]struct {
		node *redisnode.Node
		want string
	}{
		"no password":    {node(t, secured.Addr()), "needs a password"},
		"wrong password": {node(t, secured.Addr(), with(func(o *redisnode.Options) { o.Password = "hunter2" })), "does not take this user name or password"},
		"wrong user":     {node(t, secured.Addr(), with(func(o *redisnode.Options) { o.Username, o.Password = "eve", "hunter2" })), "does not take this user name or password"},
		"replica":        {node(t, replica.Addr()), "replica"},
		"dead port":      {node(t, deadAddr(t)), "refused"},
		"web server":     {node(t, listen(t, answerHTTP)), "another kind of server"},
		"closing server": {node(t, listen(t, func(c net.Conn) { _ = c.Close() })), "closed the connection"},
		"mute server":    {node(t, listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })), ""},
		"no such db":     {node(t, open.Addr(), with(func(o *redisnode.Options) { o.DB = 99 })), "DB index is out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			err := acquireErr(within(t, patience), tc.node)
			require.ErrorContains(t, err, "redisnode "+tc.node.Name()+": acquire: ")
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			t.Log(err)
		})
	}
}

func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// listen serves every connection with one function and closes it then.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

func answerHTTP(c net.Conn) {
	buf := make([]byte, 4096)
	_, _ = c.Read(buf)
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
}

// New has one result, so that a quorum is written down in one expression; what is
// wrong must then come out of the first call, and never as a panic.
func TestInvalidOptions(t *testing.T) {
	c := client(t, &redis.Options{Addr: "127.0.0.1:1"})
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	t.Cleanup(func() { _ = ring.Close() })
	for name, tc := range map[string]struct {
		client redis.UniversalClient
		opts   redisnode.Options
		want   string
	}{
		"nothing":     {nil, redisnode.Options{}, "neither a client nor Options.Addr"},
		"url":         {nil, redisnode.Options{Addr: "redis://me:hunter2@host:6379"}, "not a URL"},
		"credentials": {nil, redisnode.Options{Addr: "me:hunter2@host:6379"}, "not a URL"},
		"network":     {nil, redisnode.Options{Addr: "h:1", Network: "udp"}, "tcp or unix"},
		"db":          {nil, redisnode.Options{Addr: "h:1", DB: -1}, "DB"},
		"prefix":      {nil, redisnode.Options{Addr: "h:1", Prefix: "{x}"}, "slot"},
		"tombstone":   {nil, redisnode.Options{Addr: "h:1", TombstoneRetention: -1}, "TombstoneRetention"},
		"both":        {c, redisnode.Options{Addr: "h:1"}, "cannot change the one given"},
		"ring":        {ring, redisnode.Options{}, "redis.Ring"},
		"nil client":  {(*redis.Client)(nil), redisnode.Options{}, "nil pointer"},
		"nil cluster": {(*redis.ClusterClient)(nil), redisnode.Options{}, "nil pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			n := redisnode.New(tc.client, tc.opts)
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

// Close must not end a client that others use.
func TestCloseSparesAUsersClient(t *testing.T) {
	m := startMini(t)
	c := client(t, &redis.Options{Addr: m.Addr(), DB: 3})
	n := redisnode.New(c, redisnode.Options{})
	require.Equal(t, m.Addr()+"/3", n.Name())
	require.True(t, acquire(t, n, "k", 1).Granted)
	require.NoError(t, n.Close())
	require.NoError(t, c.Ping(t.Context()).Err())

	own := redisnode.New(nil, redisnode.Options{Addr: m.Addr(), Name: "a"})
	require.NoError(t, own.Close())
	require.NoError(t, own.Close(), "twice does no harm")
	require.ErrorIs(t, acquireErr(t.Context(), own), redis.ErrClosed)
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	testserver.StartRedis(t, "--unixsocket", path)
	n := node(t, path)
	require.Equal(t, path+"/0", n.Name())
	for range 3 {
		require.True(t, acquire(t, n, "k", 1).Granted)
	}
}
