package redisnode_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

func runID(t *testing.T, addr string) string {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	info := c.InfoMap(within(t, patience), "server")
	require.NoError(t, info.Err())
	return info.Item("Server", "run_id")
}

// Rule 9: a server that has just started may have lost a lock that is held, so
// its votes must say how young it is.
func TestRestartIsSeen(t *testing.T) {
	s := testserver.StartRedis(t)
	clients := map[string]func(t *testing.T) redlock.Node{
		"own client": func(t *testing.T) redlock.Node { return node(t, s.Addr()) },
		"user's client": func(t *testing.T) redlock.Node {
			return redisnode.New(client(t, &redis.Options{Addr: s.Addr()}), redisnode.Options{})
		},
		// A copy shares the pool but not the hooks of its original, so that its
		// dials cannot be seen.
		"copy of a client": func(t *testing.T) redlock.Node {
			return redisnode.New(client(t, &redis.Options{Addr: s.Addr()}).WithTimeout(patience), redisnode.Options{})
		},
		"used client": func(t *testing.T) redlock.Node {
			c := client(t, &redis.Options{Addr: s.Addr()})
			require.NoError(t, c.Ping(t.Context()).Err())
			return redisnode.New(c, redisnode.Options{})
		},
		"proxied": func(t *testing.T) redlock.Node {
			return node(t, s.Addr(), func(o *redisnode.Options) { o.Proxied = true })
		},
		"unknown client": func(t *testing.T) redlock.Node {
			return redisnode.New(struct{ redis.UniversalClient }{client(t, &redis.Options{Addr: s.Addr()})}, redisnode.Options{})
		},
	}
	for name, make := range clients {
		t.Run(name, func(t *testing.T) {
			n := make(t)
			before := runID(t, s.Addr())
			for range 4 { // asked, and then remembered
				vote := acquire(t, n, "k", 1)
				require.Equal(t, before, vote.Incarnation)
				require.Positive(t, vote.Age)
				require.Less(t, vote.Age, time.Hour)
			}
			s.Restart()
			vote := firstAnswer(t, n)
			require.True(t, vote.Granted, "the server has lost the lock")
			require.Equal(t, runID(t, s.Addr()), vote.Incarnation)
			require.NotEqual(t, before, vote.Incarnation)
			require.Positive(t, vote.Age)
			require.Less(t, vote.Age, time.Hour)
		})
	}
}

// firstAnswer acquires until the connections to the dead server are used up.
func firstAnswer(t *testing.T, n redlock.Node) redlock.Vote {
	t.Helper()
	for range 100 {
		vote, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(2), TTL: time.Minute})
		if err == nil {
			return vote
		}
	}
	require.Fail(t, "no answer after the restart")
	return redlock.Vote{}
}

// The age of a server goes on between the times it is asked, and what it said
// first stands: its own clock may be set meanwhile.
func TestAgeGrowsWithTheClock(t *testing.T) {
	s := testserver.StartRedis(t)
	clock := redlock.NewManualClock(time.Now())
	n := node(t, s.Addr(), func(o *redisnode.Options) { o.Clock = clock })
	ask := func() redlock.Vote {
		t.Helper()
		vote, err := n.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: time.Minute})
		require.NoError(t, err)
		return vote
	}
	first := ask()
	ask()
	clock.Advance(time.Hour)
	later := ask()
	require.GreaterOrEqual(t, later.Age, time.Hour)
	require.Equal(t, first.Incarnation, later.Incarnation)
}

// A node that says that it loses nothing is believed, but still tells its
// incarnation, by which a server listed twice is found out.
func TestDurableHasNoAge(t *testing.T) {
	s := testserver.StartRedis(t)
	n := node(t, s.Addr(), func(o *redisnode.Options) { o.Durable = true })
	for range 3 {
		vote := acquire(t, n, "k", 1)
		require.Zero(t, vote.Age)
		require.Equal(t, runID(t, s.Addr()), vote.Incarnation)
	}
	state, err := n.Inspect(within(t, patience), "k")
	require.NoError(t, err)
	require.Zero(t, state.Age)
}

// After a failover the name leads to another server, which ran as a replica all
// along: its uptime says nothing of the grants it missed.
func TestFailoverIsSeen(t *testing.T) {
	older, master := testserver.StartRedis(t), testserver.StartRedis(t)
	var addr atomic.Value
	addr.Store(master.Addr())
	clock := redlock.NewManualClock(time.Now())
	c := client(t, &redis.Options{Dialer: dialer(&addr)})
	n := redisnode.New(c, redisnode.Options{Clock: clock})
	ask := func() (redlock.Vote, error) {
		return n.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: time.Minute})
	}
	for range 3 {
		_, err := ask()
		require.NoError(t, err)
	}
	waitForUptime(t, older, 3)

	addr.Store(older.Addr())
	master.Kill()
	vote, err := ask()
	for i := 0; err != nil && i < 100; i++ {
		vote, err = ask()
	}
	require.NoError(t, err)
	require.Equal(t, runID(t, older.Addr()), vote.Incarnation)
	require.Less(t, vote.Age, time.Second, "counted from the failover, not from its start")
	clock.Advance(time.Minute)
	vote, err = ask()
	require.NoError(t, err)
	require.GreaterOrEqual(t, vote.Age, time.Minute)
}

// A server that will not tell its age might have lost every lock a second ago.
func TestINFODenied(t *testing.T) {
	s := testserver.StartRedis(t)
	admin := client(t, &redis.Options{Addr: s.Addr()})
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "locks", "on", ">secret", "~redlock:*", "&redlock:*",
		"+hello", "+auth", "+select", "+evalsha", "+eval", "+get", "+set", "+del", "+exists", "+pttl", "+pexpire", "+hget", "+hdel", "+hgetall",
		"+zadd", "+zpopmin", "+zrange", "+zrem", "+getrange", "+setrange", "+time", "+publish").Err())
	asLocks := func(o *redisnode.Options) { o.Username, o.Password = "locks", "secret" }

	n := node(t, s.Addr(), asLocks)
	_, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: time.Minute})
	require.ErrorContains(t, err, "grant its user +info")
	require.ErrorContains(t, err, "Durable")
	require.Zero(t, admin.Exists(t.Context(), "redlock:{k}").Val(), "it failed, so it should have done nothing")

	durable := node(t, s.Addr(), asLocks, func(o *redisnode.Options) { o.Durable = true })
	vote := acquire(t, durable, "k", 1)
	require.True(t, vote.Granted)
	require.Empty(t, vote.Incarnation)
	require.Zero(t, vote.Age)
	_, err = durable.Probe(within(t, patience))
	require.NoError(t, err)

	// With +info these are the commands that the package documentation names.
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "locks", "+info").Err())
	require.NoError(t, admin.ACLLogReset(t.Context()).Err())
	require.True(t, acquire(t, n, "k", 1).Granted)
	release(t, n, "k", 1)
	_, err = n.Inspect(within(t, patience), "k")
	require.NoError(t, err)
	denied, err := admin.ACLLog(t.Context(), 10).Result()
	require.NoError(t, err)
	require.Empty(t, denied)
}

// Who has fewer rights than the holder cannot see whose lock it is, and must not say
// that it was released.
func TestForcedReleaseWithFewerRights(t *testing.T) {
	for _, right := range []string{"-hget", "-hdel"} {
		t.Run(right, func(t *testing.T) { forcedReleaseWithout(t, right) })
	}
}

func forcedReleaseWithout(t *testing.T, right string) {
	s := testserver.StartRedis(t)
	admin := client(t, &redis.Options{Addr: s.Addr()})
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "locks", "on", ">secret", "~redlock:*", "&redlock:*", "+@all", "-hgetall", right).Err())
	holder := submitting{node(t, s.Addr())}
	vote, err := holder.call(within(t, patience), redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(1), TTL: time.Minute, Hint: 1, Ordered: true})
	require.NoError(t, err)
	require.True(t, vote.Granted)
	n := node(t, s.Addr(), func(o *redisnode.Options) { o.Username, o.Password = "locks", "secret" })
	_, err = n.Inspect(within(t, patience), "k")
	require.ErrorContains(t, err, "ACL")
	err = n.Release(within(t, patience), redlock.ReleaseRequest{Key: "k", Owner: chance(1)})
	require.ErrorContains(t, err, "ACL")
	require.EqualValues(t, 1, admin.Exists(t.Context(), "redlock:{k}").Val())
}

// Votes tell the server's identity, yet asking for it must cost nothing in the
// long run.
func TestIdentityIsAskedPerConnection(t *testing.T) {
	s := testserver.StartRedis(t)
	n, c := node(t, s.Addr()), client(t, &redis.Options{Addr: s.Addr()})
	infos := func() string {
		return c.InfoMap(t.Context(), "commandstats").Item("Commandstats", "cmdstat_info")
	}
	calls := func() string { calls, _, _ := strings.Cut(infos(), ","); return calls }
	for range 3 {
		require.NotEmpty(t, acquire(t, n, "k", 1).Incarnation)
	}
	infos()
	before := calls()
	for range 20 {
		require.NotEmpty(t, acquire(t, n, "k", 1).Incarnation)
	}
	require.Equal(t, next(t, before), calls(), "only our own reading of the statistics is new")
}

// next is the count after one more call, in the form of INFO commandstats.
func next(t *testing.T, calls string) string {
	t.Helper()
	count, err := strconv.Atoi(strings.TrimPrefix(calls, "calls="))
	require.NoError(t, err)
	return "calls=" + strconv.Itoa(count+1)
}
