package zknode_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/zknode"
)

// documented is when a key must be free after its client was last heard of: the
// session timeout, and a tick. Tests add what a slow machine needs.
func documented(timeout time.Duration) time.Duration { return timeout + tick }

const (
	tick  = 100 * time.Millisecond
	grace = 5 * time.Second
)

// Variables of the process that TestKilledClient kills.
const (
	clientVar  = "REDLOCK_ZKNODE_TEST_SERVER"
	clientTime = time.Second // its session timeout
)

// holdUntilKilled is the main function of that process.
func holdUntilKilled() {
	n := zknode.New(nil, zknode.Options{Servers: []string{os.Getenv(clientVar)}, SessionTimeout: clientTime, Durable: true})
	vote, err := n.Acquire(context.Background(), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: clientTime / 2})
	for err == nil && vote.Granted {
		fmt.Println("held")
		time.Sleep(clientTime / 10)
		vote, err = n.Extend(context.Background(), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: clientTime / 2})
	}
	fmt.Println(vote, err)
	os.Exit(1)
}

// Nobody ends the grants of a client that was killed but the end of its session.
func TestKilledClient(t *testing.T) {
	t.Parallel()
	s := server(t)
	n := node(t, s.Addr())
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), clientVar+"="+s.Addr())
	out, err := client.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, client.Start())
	t.Cleanup(func() { _ = client.Process.Kill() })
	line := make([]byte, 5)
	_, err = io.ReadFull(out, line)
	require.NoError(t, err)
	require.Equal(t, "held\n", string(line))
	require.False(t, acquire(t, n, "k", 2).Granted)

	require.NoError(t, client.Process.Kill())
	took := freed(t, n, "k")
	_ = client.Wait()
	t.Logf("freed after %v; documented: %v", took, documented(clientTime))
	require.Less(t, took, documented(clientTime)+grace)
	require.Greater(t, took, clientTime/2, "not before a grant could end")
	require.True(t, acquire(t, n, "k", 2).Granted)
}

// A client that is cut off may believe in its grant for its TTL, and cannot end
// it. When it is back, its session has expired, and the driver makes a new one
// without a word: the grant must not seem to stand.
func TestBlackHoledClient(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	s := server(t)
	for name, connected := range map[string]func(t *testing.T, addr string) *zknode.Node{
		"own connection": func(t *testing.T, addr string) *zknode.Node { return node(t, addr, session(timeout)) },
		"user's connection": func(t *testing.T, addr string) *zknode.Node {
			return zknode.New(connect(t, addr, timeout), zknode.Options{SessionTimeout: timeout, Root: "/users"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blackHole(t, s, connected, timeout)
		})
	}
}

func blackHole(t *testing.T, s *testserver.ZooKeeper, connected func(*testing.T, string) *zknode.Node, timeout time.Duration) {
	proxy := testserver.StartProxy(t, s.Addr())
	cut := connected(t, proxy.Addr())
	n := node(t, s.Addr())
	if strings.HasSuffix(cut.Name(), "/users") {
		n = node(t, s.Addr(), func(o *zknode.Options) { o.Root = "/users" })
	}
	ttl := timeout / 4 * 3
	start := time.Now()
	vote := acquireFor(t, cut, "k", 1, ttl)
	require.True(t, vote.Granted)
	proxy.Hold()
	require.False(t, acquire(t, n, "k", 2).Granted)
	freed(t, n, "k")
	took := time.Since(start)
	t.Logf("freed after %v; documented: %v", took, documented(timeout))
	require.Greater(t, took, ttl)
	require.Less(t, took, documented(timeout)+grace)

	// By now the client is in doubt, or will be soon, and says so.
	require.Eventually(t, func() bool {
		_, err := cut.Extend(within(t, tick), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: ttl})
		return err != nil && strings.Contains(err.Error(), "in doubt")
	}, patience, tick)

	proxy.Cut() // what was held is lost, and the way is free
	proxy.Pass()
	refusedInTheEnd(t, cut, vote.Fence)
	require.True(t, acquireFor(t, cut, "k", 3, ttl).Granted)
}

// refusedInTheEnd extends a lost grant until the node is sure.
func refusedInTheEnd(t *testing.T, n redlock.Node, fence uint64) {
	t.Helper()
	require.Eventually(t, func() bool {
		vote, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: fence, TTL: time.Millisecond})
		return err == nil && !vote.Granted
	}, patience, tick)
	vote, err := n.Confirm(within(t, patience), redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: fence, Token: fence})
	require.NoError(t, err)
	require.False(t, vote.Granted)
}

// Grants and sessions outlive the server's process.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, other := node(t, s.Addr()), node(t, s.Addr())
	vote := acquire(t, n, "k", 1)
	s.Restart()
	require.Eventually(t, func() bool {
		again, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: time.Minute})
		return err == nil && again.Granted && again.Incarnation == vote.Incarnation
	}, patience, tick)
	require.Eventually(t, func() bool {
		refused, err := other.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(2), TTL: time.Minute})
		return err == nil && !refused.Granted && refused.Holder == owner(1)
	}, patience, tick)
	release(t, n, "k", 1)
	require.Greater(t, acquire(t, other, "k", 2).Fence, vote.Fence)
}

// A server in a container without a volume: it has lost the lock of somebody who
// is still sure of it, and a client that has just started cannot know.
func TestLostData(t *testing.T) {
	t.Parallel()
	s := server(t)
	young := func(o *zknode.Options) { o.Durable = false }
	holder := node(t, s.Addr(), young)
	vote := acquire(t, holder, "k", 1)
	require.Positive(t, vote.Age, "a new root may be a lost one")
	s.Kill()
	s.Wipe()
	s.Start()
	start := time.Now()
	fresh := acquire(t, node(t, s.Addr(), young), "k", 2)
	require.True(t, fresh.Granted)
	require.Positive(t, fresh.Age)
	require.Less(t, fresh.Age, time.Since(start)+time.Second)
	require.NotEqual(t, vote.Incarnation, fresh.Incarnation)
	require.Zero(t, acquire(t, node(t, s.Addr()), "k", 3).Age, "it is declared durable")
}

// A grant whose answer was lost is nobody's. The driver does not tell, and the
// session lives on, so it would last as long as the client does.
func TestLostReply(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n, other := node(t, proxy.Addr()), node(t, s.Addr())
	acquire(t, n, "warm", 1)
	release(t, n, "warm", 1)
	for _, key := range []string{"warm", "new"} {
		proxy.DropReply()
		_, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: key, Owner: owner(2), TTL: time.Minute})
		require.ErrorContains(t, err, "outcome is unknown")
		t.Logf("%q was freed after %v", key, freed(t, other, key))
		require.Eventually(t, func() bool {
			return n.Release(within(t, patience), redlock.ReleaseRequest{Key: key, Owner: owner(2)}) == nil
		}, patience, tick)
		require.True(t, acquire(t, other, key, 3).Granted)
	}
}

// The owner may ask again instead, and gets what it was granted.
func TestLostReplyAskedAgain(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n := node(t, proxy.Addr())
	acquire(t, n, "k", 1)
	release(t, n, "k", 1)
	proxy.DropReply()
	_, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(2), TTL: time.Minute})
	require.Error(t, err)
	var vote redlock.Vote
	require.Eventually(t, func() bool {
		vote, err = n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(2), TTL: time.Minute})
		return err == nil
	}, patience, time.Millisecond)
	require.True(t, vote.Granted)
	time.Sleep(500 * time.Millisecond) // longer than the node takes to look for lost grants
	require.Equal(t, owner(2), inspect(t, n, "k").Owner)
}

// An acquire whose caller has left is carried out all the same, and then taken
// back: its answer comes, and nobody hears of it.
func TestLateGrantIsTakenBack(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n, other := node(t, proxy.Addr()), node(t, s.Addr())
	acquire(t, n, "warm", 1)
	release(t, n, "warm", 1)
	for _, key := range []string{"warm", "new"} {
		proxy.Hold()
		_, err := n.Acquire(within(t, tick), redlock.AcquireRequest{Key: key, Owner: owner(2), TTL: time.Minute})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		proxy.Pass()
		held, ended := false, time.Now().Add(time.Second)
		for time.Now().Before(ended) {
			state := inspect(t, other, key)
			held = held || state.Counter > 1 || key == "new" && state.Counter > 0
			if held && !state.Held {
				break
			}
		}
		require.True(t, held, "it was carried out late")
		require.False(t, inspect(t, other, key).Held)
	}
}

// A release that overtakes its acquire, in the order of calls, does not let it
// through.
func TestReleaseOvertakesAcquire(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n, other := node(t, proxy.Addr()), node(t, s.Addr())
	acquire(t, n, "k", 1)
	release(t, n, "k", 1)
	proxy.Hold()
	_, err := n.Acquire(within(t, tick), redlock.AcquireRequest{Key: "k", Owner: owner(2), TTL: time.Minute})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	released := make(chan error)
	go func() {
		released <- n.Release(context.Background(), redlock.ReleaseRequest{Key: "k", Owner: owner(2)})
	}()
	time.Sleep(tick)
	proxy.Pass()
	require.NoError(t, <-released)
	require.False(t, inspect(t, other, "k").Held)
	require.False(t, acquire(t, n, "k", 2).Granted)
}

// Rule 8, with a server that is frozen, and one that was never there.
func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := server(t)
	t.Cleanup(s.Cont)
	own := node(t, s.Addr())
	users := zknode.New(connect(t, s.Addr(), time.Minute), zknode.Options{SessionTimeout: time.Minute})
	cold := node(t, listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	acquire(t, own, "k", 1)
	s.Stop()
	for name, n := range map[string]*zknode.Node{"own": own, "user's": users, "cold": cold} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			ends(t, func() error { return acquireErr(ctx, n) }, context.Canceled)
			ends(t, func() error {
				return n.Release(ctx, redlock.ReleaseRequest{Key: "k", Owner: owner(1)})
			}, context.Canceled)
			ends(t, func() error { _, err := n.Probe(ctx); return err }, context.Canceled)
			ends(t, func() error { return acquireErr(within(t, tick), n) }, context.DeadlineExceeded)
		})
	}
	s.Cont()
	require.NoError(t, users.Close())
}

func acquireErr(ctx context.Context, n redlock.Node) error {
	_, err := n.Acquire(ctx, redlock.AcquireRequest{Key: "k", Owner: owner(9), TTL: time.Second})
	return err
}

// ends demands that a call ends long before any timeout of the driver.
func ends(t *testing.T, call func() error, want error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		require.ErrorIs(t, err, want)
	case <-time.After(patience):
		require.Fail(t, "the call outlives its context")
	}
}

// What people get wrong most should not need a debugger.
func TestErrorsExplain(t *testing.T) {
	t.Parallel()
	s := server(t)
	acquire(t, node(t, s.Addr(), credentials, func(o *zknode.Options) { o.Root = "/theirs" }), "k", 1)
	conn := connect(t, s.Addr(), time.Minute)
	_, err := conn.Create("/other", nil, 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	_, err = conn.Create("/other/locks", []byte("mine"), 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	change := func(f func(*zknode.Options)) *zknode.Node { return node(t, s.Addr(), f) }
	for name, tc := range map[string]struct {
		node *zknode.Node
		want string
	}{
		"dead port":      {node(t, deadAddr(t)), "refused"},
		"web server":     {node(t, listen(t, answerHTTP)), "another kind of server"},
		"closing server": {node(t, listen(t, func(c net.Conn) { _ = c.Close() })), "closed"},
		"no credentials": {change(func(o *zknode.Options) { o.Root = "/theirs" }), "ACL"},
		"wrong password": {change(func(o *zknode.Options) {
			o.Root, o.Auth = "/theirs", []zknode.Auth{{Scheme: "digest", Credentials: "me:hunter3"}}
		}), "ACL"},
		"unknown scheme": {change(func(o *zknode.Options) {
			o.Auth = []zknode.Auth{{Scheme: "nosuch", Credentials: "me:hunter2"}}
		}), "does not take these credentials"},
		"ACL for nobody": {change(func(o *zknode.Options) { o.Root, o.ACL = "/mine", zk.AuthACL(zk.PermAll) }), "needs Options.Auth"},
		"other data":     {change(func(o *zknode.Options) { o.Root = "/other" }), "another Options.Root"},
		"short session":  {change(session(time.Second)), "raise SessionTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.node.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: 10 * time.Second})
			require.ErrorContains(t, err, "zknode "+tc.node.Name()+": acquire: ")
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter")
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
	_, _ = c.Read(make([]byte, 4096))
	_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
}

// What the server grants is what counts, not what was asked for.
func TestServerLimitsTheSession(t *testing.T) {
	t.Parallel()
	s := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: 4 * time.Second})
	n := node(t, s.Addr(), session(time.Minute))
	_, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: 3001 * time.Millisecond})
	require.ErrorContains(t, err, "a session timeout of 4s, which the server granted")
	vote := acquireFor(t, n, "k", 1, 3*time.Second)
	require.True(t, vote.Granted)
	_, err = n.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: time.Minute})
	require.ErrorContains(t, err, "raise SessionTimeout")
	info, err := n.Probe(within(t, patience))
	require.NoError(t, err)
	require.Contains(t, strings.Join(info.Warnings, "\n"), "granted a session timeout of 4s instead of 1m0s")
	require.Contains(t, strings.Join(info.Warnings, "\n"), "promises TTLs up to 3s")
}

// The cost of a lock in round trips: packets that the client sends.
func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := server(t)
	var writes atomic.Int64
	n := node(t, s.Addr(), func(o *zknode.Options) {
		o.Dialer = func(network, addr string, timeout time.Duration) (net.Conn, error) {
			conn, err := net.DialTimeout(network, addr, timeout)
			return counting{conn, &writes}, err
		}
	})
	acquire(t, n, "k", 1)
	release(t, n, "k", 1)
	cost := func(f func()) int64 {
		before := writes.Load()
		f()
		return writes.Load() - before
	}
	ctx := within(t, patience)
	for i := 2; i < 12; i++ {
		var vote redlock.Vote
		require.EqualValues(t, 1, cost(func() { vote = acquire(t, n, "k", i) }))
		require.EqualValues(t, 1, cost(func() {
			_, err := n.Confirm(ctx, redlock.ConfirmRequest{Key: "k", Owner: owner(i), Fence: vote.Fence, Token: vote.Fence + 5})
			require.NoError(t, err)
		}))
		require.EqualValues(t, 1, cost(func() {
			_, err := n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(i), Fence: vote.Fence, TTL: time.Minute})
			require.NoError(t, err)
		}))
		require.EqualValues(t, 3, cost(func() { acquire(t, n, "k", 100) }), "a refusal: a look, and a closer one")
		require.EqualValues(t, 1, cost(func() { release(t, n, "k", i) }))
	}
	require.EqualValues(t, 2, cost(func() { acquire(t, n, "new", 1) }), "two requests at once")
	other := node(t, s.Addr())
	acquire(t, other, "k", 1)
	release(t, other, "k", 1)
	require.EqualValues(t, 3, cost(func() { acquire(t, n, "k", 50) }), "another program used the key")
}

type counting struct {
	net.Conn
	writes *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// failing is a connection that cannot write what the test says.
type failing struct {
	net.Conn
	fails func(p []byte) bool
}

func (f failing) Write(p []byte) (int, error) {
	if f.fails(p) {
		return 0, syscall.EPIPE
	}
	return f.Conn.Write(p)
}

// dialFailing has a test look at what is written, after the request for a session, on
// each connection.
func dialFailing(connected func() (fails func(op int32) bool)) func(*zknode.Options) {
	return func(o *zknode.Options) {
		o.Dialer = func(network, addr string, timeout time.Duration) (net.Conn, error) {
			conn, err := net.DialTimeout(network, addr, timeout)
			var begun atomic.Bool
			fails := connected()
			return failing{conn, func(p []byte) bool {
				return begun.Swap(true) && fails(int32(binary.BigEndian.Uint32(p[8:])))
			}}, err
		}
	}
}

const (
	opAuth  = 100
	opClose = -11
)

func credentials(o *zknode.Options) {
	o.Auth = []zknode.Auth{{Scheme: "digest", Credentials: "me:hunter2"}}
}

// Nothing comes before the credentials on a new connection, which a server may want so
// (enforce.auth.enabled).
func TestCredentialsComeFirst(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	var early atomic.Bool
	cut := node(t, proxy.Addr(), credentials, dialFailing(func() func(int32) bool {
		var shown atomic.Bool
		return func(op int32) bool {
			if op == opAuth {
				shown.Store(true)
			} else if !shown.Load() {
				early.Store(true)
			}
			return false
		}
	}))
	n := node(t, s.Addr(), credentials)
	acquire(t, n, "k", 1)
	w := queue(t, cut, 1)
	proxy.Hold()
	proxy.Cut()
	release(t, n, "k", 1)
	proxy.Pass()
	w.mustBeCalled(t)
	require.False(t, early.Load())
}

// A new connection may end before the credentials were shown on it.
func TestCredentialsThatCannotBeSent(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	var broken atomic.Bool
	failed := make(chan struct{}, 1)
	n := node(t, proxy.Addr(), credentials, dialFailing(func() func(int32) bool {
		return func(op int32) bool {
			fails := op == opAuth && broken.CompareAndSwap(true, false)
			if fails {
				failed <- struct{}{}
			}
			return fails
		}
	}))
	acquire(t, n, "k", 1)
	broken.Store(true)
	proxy.Cut()
	select {
	case <-failed:
	case <-time.After(patience):
		require.Fail(t, "no credentials were sent again")
	}
	require.Eventually(t, func() bool {
		return n.Release(within(t, patience), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}) == nil
	}, patience, tick)
}

// Close returns whatever is asked while it ends the session, after which nothing
// can be sent any more.
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	s := server(t)
	for range 200 {
		n := node(t, s.Addr(), dialFailing(func() func(int32) bool {
			var ended atomic.Bool
			return func(op int32) bool {
				if op == opClose {
					ended.Store(true)
					return false
				}
				return ended.Load()
			}
		}))
		acquire(t, n, "k", 1)
		var calls sync.WaitGroup
		for range 64 {
			calls.Go(func() {
				for {
					if _, err := n.Inspect(context.Background(), "k"); err != nil {
						return
					}
				}
			})
		}
		closed := make(chan error, 1)
		go func() { closed <- n.Close() }()
		select {
		case err := <-closed:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "Close hangs")
		}
		calls.Wait()
	}
}
