package redisnode_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// together submits calls one behind the other and waits for all answers.
func together(t *testing.T, n *redisnode.Node, calls ...*redlock.Call) {
	t.Helper()
	done := make(chan struct{}, len(calls))
	for _, c := range calls {
		c.Key, c.TTL, c.Ordered, c.Timeout = "k", time.Hour, true, patience
		c.Done = func(*redlock.Call) { done <- struct{}{} }
		n.Submit(c)
	}
	for range calls {
		<-done
	}
}

// An acquire that the stream has to make once more, since the key was held or the
// counter was ahead, must not come behind the release of its owner.
func TestAnAcquireMadeAgainDoesNotUndoItsRelease(t *testing.T) {
	micros := func() uint64 { return uint64(time.Now().UnixMicro()) }
	start := func(t *testing.T) (*redisnode.Node, *redis.Client) {
		s := testserver.StartRedis(t)
		n := node(t, s.Addr())
		together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(9), Hint: 1}) // connected, and near
		return n, client(t, &redis.Options{Addr: s.Addr()})
	}
	t.Run("of a key that is held", func(t *testing.T) {
		n, c := start(t)
		hint := micros()
		together(t, n, &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: hint})
		late := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: hint + 1}
		together(t, n, late,
			&redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Hint: hint},
			&redlock.Call{Op: redlock.OpRelease, Owner: chance(2), Hint: hint + 1})
		require.NoError(t, late.Err)
		require.False(t, late.Vote.Granted)
		require.Zero(t, c.Exists(t.Context(), "redlock:{k}").Val())
	})
	t.Run("of a fence to settle", func(t *testing.T) {
		n, c := start(t)
		ahead := micros() + 1e6
		together(t, n, &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: ahead})
		together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Hint: ahead})
		late := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: ahead - 1e6}
		together(t, n, late, &redlock.Call{Op: redlock.OpRelease, Owner: chance(2), Hint: ahead - 1e6})
		require.ErrorContains(t, late.Err, "released", "it had the key until then: a no would say that it had not")
		require.Zero(t, c.Exists(t.Context(), "redlock:{k}").Val())
	})
	t.Run("of a waiter, which leaves no place behind", func(t *testing.T) {
		n, c := start(t)
		hint, stop := heldAndWaitedFor(t, n)
		late := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(3), Hint: hint, Place: redlock.Place{Waiter: owner(7)}}
		together(t, n, late, &redlock.Call{Op: redlock.OpRelease, Owner: chance(3)})
		require.False(t, late.Vote.Granted)
		stop()
		together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(1)})
		require.Zero(t, c.Exists(t.Context(), "redlock:{k}", "redlock:{k}:queue").Val())
	})
}

// heldAndWaitedFor has the first owner hold the key, with the hint, and the waiter 7 queue
// for it, until stop.
func heldAndWaitedFor(t *testing.T, n *redisnode.Node) (hint uint64, stop func()) {
	t.Helper()
	hint = uint64(time.Now().UnixMicro())
	together(t, n, &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: hint})
	stop = n.Watch("k", owner(7), func() {})
	waits := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: hint, Place: redlock.Place{Waiter: owner(7), Since: 1, Hold: time.Hour}}
	together(t, n, waits)
	require.True(t, waits.Vote.Queued)
	return hint, stop
}

// A place may stay behind when the call that would have ended it is lost. When its waiter
// is called, the process passes the key on.
func TestACallForAWaiterThatIsGone(t *testing.T) {
	s := testserver.StartRedis(t)
	n, c := node(t, s.Addr()), client(t, &redis.Options{Addr: s.Addr()})
	_, stop := heldAndWaitedFor(t, n)
	places := c.ZRangeWithScores(t.Context(), "redlock:{k}:queue", 0, -1).Val()
	require.Len(t, places, 1)
	stop()
	require.Eventually(t, func() bool { return c.Exists(t.Context(), "redlock:{k}:queue").Val() == 0 }, patience, time.Millisecond)
	require.NoError(t, c.ZAdd(t.Context(), "redlock:{k}:queue", places...).Err())
	together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Wake: true})
	require.Eventually(t, func() bool { return c.Exists(t.Context(), "redlock:{k}").Val() == 0 }, patience, time.Millisecond)
}

// A waiter whose process has hung up is passed over.
func TestAWaiterThatHungUp(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	n, gone := node(t, addr), redisnode.New(nil, redisnode.Options{Addr: addr})
	hint := uint64(time.Now().UnixMicro())
	together(t, n, &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: hint})
	woken := make(chan struct{}, 1)
	gone.Watch("k", owner(7), func() {})
	defer n.Watch("k", owner(8), func() { woken <- struct{}{} })()
	for i, waits := range []*redisnode.Node{gone, n} {
		call := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2 + i), Hint: hint, Place: redlock.Place{Waiter: owner(7 + i), Since: uint64(1 + i), Hold: time.Hour}}
		together(t, waits, call)
		require.True(t, call.Vote.Queued)
	}
	require.NoError(t, gone.Close())
	c := client(t, &redis.Options{Addr: addr})
	require.Eventually(t, func() bool { return strings.Count(c.ClientList(t.Context()).Val(), " sub=1 ") == 1 }, patience, time.Millisecond)
	together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Wake: true})
	select {
	case <-woken:
	case <-time.After(patience):
		t.Fatal("the other waiter was not called")
	}
}

// A waiter that wins a key which was not set aside for it may have a place still, which
// goes with the waiter.
func TestAFreeKeyWithAQueue(t *testing.T) {
	s := testserver.StartRedis(t)
	n, c := node(t, s.Addr()), client(t, &redis.Options{Addr: s.Addr()})
	hint, stop := heldAndWaitedFor(t, n)
	require.Positive(t, c.PTTL(t.Context(), "redlock:{k}:queue").Val())
	require.NoError(t, c.Del(t.Context(), "redlock:{k}").Err(), "as if it had expired")
	takes := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(3), Hint: hint + 1, Place: redlock.Place{Waiter: owner(7)}}
	together(t, n, takes)
	require.True(t, takes.Vote.Granted)
	stop()
	together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(3)})
	require.Zero(t, c.Exists(t.Context(), "redlock:{k}", "redlock:{k}:queue").Val())
}

// breaking is a connection that breaks when it is to write some word.
type breaking struct {
	net.Conn
	at *atomic.Pointer[string]
}

func (b breaking) Write(p []byte) (int, error) {
	if word := b.at.Load(); word != nil && bytes.Contains(p, []byte(*word)) {
		b.at.Store(nil)
		_ = b.Close()
		return 0, net.ErrClosed
	}
	return b.Conn.Write(p)
}

// A native grant whose fence is not above the counter is settled by a script. If that
// never comes, and the owner asks again, the fence must not be one that was given before.
func TestAGrantThatWasNeverSettled(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	var at atomic.Pointer[string]
	c := client(t, &redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return breaking{conn, &at}, err
	}})
	n := redisnode.New(c, redisnode.Options{})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	ahead := uint64(time.Now().UnixMicro()) + 1e6
	before := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: ahead}
	together(t, n, before)
	require.NoError(t, before.Err)
	together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Hint: ahead})

	word := "settle\r\n$0"
	at.Store(&word)
	lost := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: ahead - 1e6}
	together(t, n, lost)
	require.Error(t, lost.Err)
	require.Nil(t, at.Load(), "it broke")
	var again redlock.Vote
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var err error
		again, err = submitting{n}.Acquire(context.Background(), redlock.AcquireRequest{Key: "k", Owner: chance(2), TTL: time.Minute, Hint: ahead - 1e6})
		require.NoError(t, err)
	}, patience, 10*time.Millisecond)
	require.True(t, again.Granted)
	require.Greater(t, again.Fence, before.Vote.Fence)
	state, err := n.Inspect(within(t, patience), "k")
	require.NoError(t, err)
	require.Greater(t, state.Remaining, time.Minute, "the longer TTL stays")
}

// withoutMemory has a server refuse what needs memory while f runs.
func withoutMemory(t *testing.T, c *redis.Client, f func()) {
	t.Helper()
	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "100kb").Err())
	f()
	require.NoError(t, c.ConfigSet(t.Context(), "maxmemory", "0").Err())
}

func TestOutOfMemory(t *testing.T) {
	t.Run("a lock that somebody waits for is released, and set aside", func(t *testing.T) {
		addr := testserver.StartRedis(t).Addr()
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		hint := uint64(time.Now().UnixMicro())
		together(t, n, &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: hint})
		defer n.Watch("k", owner(7), func() {})()
		waits := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: hint,
			Place: redlock.Place{Waiter: owner(7), Since: hint, Hold: time.Minute}}
		together(t, n, waits)
		require.True(t, waits.Vote.Queued)
		release := &redlock.Call{Op: redlock.OpRelease, Owner: chance(1), Hint: hint, Wake: true}
		withoutMemory(t, c, func() { together(t, n, release) })
		require.NoError(t, release.Err)
		takes := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(3), Hint: hint, Place: redlock.Place{Waiter: owner(7)}}
		together(t, n, takes)
		require.True(t, takes.Vote.Granted)
		require.Greater(t, takes.Vote.Fence, hint)
	})
	t.Run("plain commands serve again afterwards", func(t *testing.T) {
		addr := testserver.StartRedis(t).Addr()
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		take := func(i int) error {
			hint := uint64(time.Now().UnixMicro())
			acquire := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(i), Hint: hint}
			together(t, n, acquire)
			together(t, n, &redlock.Call{Op: redlock.OpRelease, Owner: chance(i), Hint: hint})
			return acquire.Err
		}
		require.NoError(t, take(1))
		withoutMemory(t, c, func() { require.ErrorContains(t, take(2), "out of memory") })
		require.NoError(t, c.ConfigResetStat(t.Context()).Err())
		require.NoError(t, take(3))
		stats := c.Info(t.Context(), "commandstats").Val()
		require.Contains(t, stats, "cmdstat_restore:calls=1,")
		require.NotContains(t, stats, "cmdstat_eval")
	})
}

// The hints of a Locker are bounded; those of others are as a script bounds them.
func TestHintsBeyondAllFences(t *testing.T) {
	n := node(t, testserver.StartRedis(t).Addr())
	c := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: 1<<63 + 5}
	together(t, n, c)
	require.NoError(t, c.Err)
	require.True(t, c.Vote.Granted)
	require.Less(t, c.Vote.Fence, uint64(redlock.MaxFence))
}

// A server that says that it is a replica is left: the name may lead to the new master.
func TestAReplicaIsLeft(t *testing.T) {
	old, promoted := testserver.StartRedis(t), testserver.StartRedis(t)
	var addr atomic.Value
	addr.Store(old.Addr())
	n := redisnode.New(client(t, &redis.Options{Dialer: dialer(&addr)}), redisnode.Options{Durable: true})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	first := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(1), Hint: 1}
	together(t, n, first)
	require.NoError(t, first.Err)
	host, port, _ := strings.Cut(promoted.Addr(), ":")
	require.NoError(t, client(t, &redis.Options{Addr: old.Addr()}).ReplicaOf(t.Context(), host, port).Err())
	addr.Store(promoted.Addr())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		call := &redlock.Call{Op: redlock.OpAcquire, Owner: chance(2), Hint: 1}
		together(t, n, call)
		require.NoError(c, call.Err)
		require.Equal(c, runID(t, promoted.Addr()), call.Vote.Incarnation)
	}, patience, 10*time.Millisecond)
}

// Close does not wait for a server that takes connections and says nothing.
func TestCloseWhileConnecting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	n := redisnode.New(client(t, &redis.Options{Addr: silent.Addr().String(), ReadTimeout: -1}), redisnode.Options{})
	n.Submit(&redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: chance(1), Timeout: patience, Done: func(*redlock.Call) {}})
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1)) // it has begun to introduce itself
	require.NoError(t, err)
	require.NoError(t, n.Close())
}
