package mysqlnode_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
)

// locked counts the locks of the server's that are held.
func locked(t *testing.T, db *sql.DB) int64 {
	t.Helper()
	return number(t, db, "SELECT COUNT(*) FROM information_schema.metadata_lock_info WHERE lock_type='User lock'")
}

// usersLocks is a database by which locks can be counted.
func usersLocks(t *testing.T, s *testserver.MariaDB, params string) *sql.DB {
	t.Helper()
	db := database(t, s.DSN()+params)
	exec(t, db, "INSTALL SONAME 'metadata_lock_info'")
	return db
}

// killGrants ends all connections that hold a lock, as an administrator would.
func killGrants(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT thread_id FROM information_schema.metadata_lock_info WHERE lock_type='User lock'")
	require.NoError(t, err)
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		require.NoError(t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NotEmpty(t, ids)
	for _, id := range ids {
		exec(t, db, fmt.Sprintf("KILL %d", id))
	}
}

// A client that is killed frees its keys: a session lock at once, with its
// connection, and a row when its TTL has passed.
func TestKilledClient(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode, _ func(*mysqlnode.Options)) {
		n := ready(t, s, inMode(mode)) // the default table, as in the client
		self, err := os.Executable()
		require.NoError(t, err)
		client := osexec.Command(self)
		client.Env = append(os.Environ(), clientVar+"="+s.Addr(), clientVar+"_MODE="+mode.String())
		out, err := client.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, client.Start())
		defer func() { _ = client.Wait() }()
		line, err := bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "granted true <nil>\n", line)
		held := inspect(t, n, "k")
		require.Equal(t, owner(1), held.Owner)
		require.NoError(t, client.Process.Kill())
		killed := time.Now()
		becomesFree(t, n, "k")
		t.Logf("free %v after the kill", time.Since(killed))
		require.Equal(t, held.Counter+1, granted(t, n, "k", 2).Fence)
		release(t, n, "k", 2)
	})
}

// Loss of the connection is loss of the grant, and the next vote says so.
func TestLostConnection(t *testing.T) {
	s := testserver.StartMariaDB(t)
	db := usersLocks(t, s, "")
	proxy := testserver.StartProxy(t, s.Addr())
	ready(t, s, sessions)
	for name, lose := range map[string]func(){
		"killed by an administrator": func() { killGrants(t, db) },
		"dropped by a proxy":         proxy.Cut,
	} {
		for _, op := range []string{"extend", "confirm", "acquire"} {
			t.Run(name+", "+op, func(t *testing.T) {
				n, key := node(t, proxy.Addr(), sessions), name+op
				grant := granted(t, n, key, 1)
				require.True(t, extend(t, n, key, 1, grant.Fence).Granted)
				lose()
				vote := redlock.Vote{}
				switch op {
				case "extend":
					vote = extend(t, n, key, 1, grant.Fence)
				case "confirm":
					var err error
					vote, err = n.Confirm(within(t, patience), redlock.ConfirmRequest{Key: key, Owner: owner(1), Fence: grant.Fence, Token: grant.Fence})
					require.NoError(t, err)
				case "acquire":
					becomesFree(t, n, key)
					vote = granted(t, n, key, 1)
					require.Equal(t, grant.Fence+1, vote.Fence, "it is a new grant")
					require.Equal(t, grant.Incarnation, vote.Incarnation)
					release(t, n, key, 1)
					return
				}
				require.False(t, vote.Granted)
				require.Equal(t, grant.Fence, vote.Counter)
				require.Equal(t, grant.Incarnation, vote.Incarnation)
				require.Greater(t, vote.Age, grant.Age)
				require.False(t, extend(t, n, key, 1, grant.Fence).Granted, "still")
				becomesFree(t, n, key)
				require.True(t, granted(t, n, key, 2).Granted)
				release(t, n, key, 2)
			})
		}
	}
	require.Zero(t, locked(t, db))
}

// A server that stalls for a moment has not lost anything: whoever waits for no
// longer than a node's timeout must not close the connection by giving up.
func TestStallIsNoLoss(t *testing.T) {
	s, own := shared(t)
	proxy := testserver.StartProxy(t, s.Addr())
	ready(t, s, own, sessions)
	n := node(t, proxy.Addr(), own, sessions)
	grant := granted(t, n, "k", 1)
	proxy.Hold()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: grant.Fence, TTL: time.Minute})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	proxy.Pass()
	require.True(t, extend(t, n, "k", 1, grant.Fence).Granted)

	// A release does not wait for such a call.
	proxy.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	_, err := n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: grant.Fence, TTL: time.Minute})
	cancel()
	require.Error(t, err)
	time.AfterFunc(100*time.Millisecond, proxy.Pass)
	release(t, n, "k", 1)
	require.False(t, inspect(t, n, "k").Held)
}

// A client whose packets are swallowed cannot end its connection. The server does,
// a second after the TTL at the latest when that is in whole seconds.
func TestBlackHole(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, _ mysqlnode.Mode, own func(*mysqlnode.Options)) {
		proxy := testserver.StartProxy(t, s.Addr())
		near := ready(t, s, own)
		far := node(t, proxy.Addr(), own)
		start := time.Now()
		vote, err := tryAcquire(t.Context(), far, "k", 1, time.Second)
		require.NoError(t, err)
		require.True(t, vote.Granted)
		proxy.Hold()
		defer proxy.Pass()
		for acquire(t, near, "k", 2).Granted == false {
			time.Sleep(5 * time.Millisecond)
		}
		took := time.Since(start)
		require.GreaterOrEqual(t, took, time.Second)
		t.Logf("free after %v", took)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		late, err := far.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: time.Second})
		require.False(t, err == nil && late.Granted)
	})
}

// The TTL is ended by the client, and a session lock lasts no longer because the
// server counts in seconds.
func TestSessionTTL(t *testing.T) {
	s, own := shared(t)
	n, other := ready(t, s, own, sessions), node(t, s.Addr(), own, sessions)
	const ttl = 200 * time.Millisecond
	start := time.Now()
	vote, err := tryAcquire(t.Context(), n, "k", 1, ttl)
	require.NoError(t, err)
	require.True(t, vote.Granted)
	refused := acquire(t, other, "k", 2)
	require.Equal(t, owner(1), refused.Holder)
	require.LessOrEqual(t, refused.Remaining, ttl)
	for !acquire(t, other, "k", 2).Granted {
		time.Sleep(time.Millisecond)
	}
	require.GreaterOrEqual(t, time.Since(start), ttl)
	t.Logf("a TTL of %v ended after %v", ttl, time.Since(start))
	require.False(t, extend(t, n, "k", 1, vote.Fence).Granted)
}

// A connection that has had a lock never serves anybody else, whatever is done to
// its calls; the pool is the user's, and small.
func TestNoLockInThePool(t *testing.T) {
	s := testserver.StartMariaDB(t)
	ready(t, s, sessions)
	db := usersLocks(t, s, "?multiStatements=true")
	n := closing(t, mysqlnode.New(db, mysqlnode.Options{Mode: mysqlnode.Session}))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 60 {
				key, who := fmt.Sprint("k", random.IntN(4)), w*1000+i
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(5000))*time.Microsecond)
				vote, err := tryAcquire(ctx, n, key, who, time.Minute)
				if err == nil && vote.Granted && random.IntN(2) == 0 {
					_, _ = n.Extend(ctx, redlock.ExtendRequest{Key: key, Owner: owner(who), Fence: vote.Fence, TTL: time.Minute})
				}
				cancel()
				if err := n.Release(t.Context(), redlock.ReleaseRequest{Key: key, Owner: owner(who)}); err != nil {
					t.Errorf("release: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, db.Stats().InUse)
	require.Eventually(t, func() bool { return locked(t, db) == 0 }, patience, 10*time.Millisecond, "a lock is left")
	for i := range 4 {
		require.False(t, inspect(t, n, fmt.Sprint("k", i)).Held)
	}
}

// ForceUnlock releases an owner that another process holds by: its session is
// ended, and the holder's renewal cannot bring it back.
func TestReleaseOfAnotherProcessesLock(t *testing.T) {
	s, own := shared(t)
	holder, other := ready(t, s, own, sessions), node(t, s.Addr(), own, sessions)
	vote := granted(t, holder, "k", 1)
	release(t, other, "k", 2)
	require.True(t, extend(t, holder, "k", 1, vote.Fence).Granted, "an owner that holds nothing was released")
	release(t, other, "k", 1)
	require.False(t, inspect(t, other, "k").Held, "once it was handled, not later")
	require.False(t, extend(t, holder, "k", 1, vote.Fence).Granted)
	require.False(t, acquire(t, holder, "k", 1).Granted, "released for good")
	require.True(t, granted(t, holder, "k", 3).Granted)

	exec(t, database(t, s.DSN()), "CREATE OR REPLACE USER 'guest'")
	exec(t, database(t, s.DSN()), "GRANT SELECT, INSERT, UPDATE, DELETE ON locks.* TO 'guest'")
	guest := node(t, s.Addr(), own, sessions, func(o *mysqlnode.Options) { o.User = "guest" })
	err := guest.Release(within(t, patience), redlock.ReleaseRequest{Key: "k", Owner: owner(3)})
	require.ErrorContains(t, err, "another database user")
}

// A release over a connection that is dead without anybody knowing goes by
// another, and is not over before the server has freed the key.
func TestReleaseOverADeadConnection(t *testing.T) {
	s, own := shared(t)
	near := ready(t, s, own, sessions)
	proxy := testserver.StartProxy(t, s.Addr())
	n := node(t, proxy.Addr(), own, sessions)
	for range 2 {
		inspect(t, n, "warm")
	}
	granted(t, n, "k", 1)
	proxy.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	err := n.Release(ctx, redlock.ReleaseRequest{Key: "k", Owner: owner(1)})
	cancel()
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, inspect(t, near, "k").Held, "the server has heard nothing")
	proxy.Pass()
	release(t, n, "k", 1)
	require.False(t, inspect(t, near, "k").Held)
}

// Renewals set a session's idle time anew, and never to less than was promised.
func TestIdleTime(t *testing.T) {
	t.Parallel()
	s, own := shared(t)
	proxy := testserver.StartProxy(t, s.Addr())
	near, n := ready(t, s, own, sessions), node(t, proxy.Addr(), own, sessions)
	const ttl = 1900 * time.Millisecond
	start := time.Now()
	vote, err := tryAcquire(t.Context(), n, "k", 1, ttl)
	require.NoError(t, err)
	shorter, err := n.Extend(t.Context(), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, TTL: time.Millisecond})
	require.NoError(t, err)
	require.True(t, shorter.Granted)
	proxy.Hold()
	defer proxy.Pass()
	for inspect(t, near, "k").Held {
		time.Sleep(5 * time.Millisecond)
	}
	require.GreaterOrEqual(t, time.Since(start), ttl)
}

// Without a table there is no memory but the server's clock.
func TestNoTable(t *testing.T) {
	s, own := shared(t)
	noTable := func(o *mysqlnode.Options) { own(o); o.Mode, o.NoTable = mysqlnode.Session, true }
	n, other := ready(t, s, noTable), node(t, s.Addr(), noTable)
	require.Empty(t, n.Schema())
	var last uint64
	for i := range 4 {
		vote := granted(t, []*mysqlnode.Node{n, other}[i%2], "k", i)
		require.Greater(t, vote.Fence, last)
		require.InDelta(t, float64(vote.Clock.UnixMicro()), float64(vote.Fence), 1)
		require.Equal(t, vote.Fence, granted(t, []*mysqlnode.Node{n, other}[i%2], "k", i).Fence, "again")
		last = vote.Fence
		release(t, []*mysqlnode.Node{n, other}[i%2], "k", i)
	}
	grant := granted(t, n, "k", 9)
	refused := acquire(t, other, "k", 10)
	require.Regexp(t, `^connection \d+$`, refused.Holder)
	require.Zero(t, refused.Remaining)
	require.Regexp(t, `^connection \d+$`, inspect(t, other, "k").Owner)

	confirm := func(token uint64) redlock.Vote {
		vote, err := n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "k", Owner: owner(9), Fence: grant.Fence, Token: token})
		require.NoError(t, err)
		return vote
	}
	require.False(t, confirm(uint64(time.Now().Add(time.Hour).UnixMicro())).Granted, "it could not be remembered")
	require.True(t, confirm(grant.Fence+1).Granted)
	require.True(t, extend(t, n, "k", 9, grant.Fence).Granted)
	release(t, n, "k", 9)
	require.False(t, acquire(t, n, "k", 9).Granted, "released for good")
	grant = granted(t, other, "k", 10)
	require.NoError(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: inspect(t, n, "k").Owner}), "by force")
	require.True(t, granted(t, n, "k", 11).Granted)
	require.False(t, extend(t, other, "k", 10, grant.Fence).Granted)
	info, err := n.Probe(t.Context())
	require.NoError(t, err)
	require.Contains(t, info.Warnings[0], "cannot keep tokens")
}

// Names of locks are the server's. Tables keep those of applications apart.
func TestTablesKeepLocksApart(t *testing.T) {
	s, own := shared(t)
	_, other := shared(t)
	a, b := ready(t, s, own, sessions), ready(t, s, other, sessions)
	rows := ready(t, s, own)
	granted(t, a, "k", 1)
	granted(t, b, "k", 2)
	granted(t, rows, "k", 3)
	require.Equal(t, owner(1), inspect(t, a, "k").Owner)
}

// A restart frees session locks and ends their connections.
func TestRestartOfSessions(t *testing.T) {
	s := testserver.StartMariaDB(t)
	n := ready(t, s, sessions)
	grant := granted(t, n, "k", 1)
	time.Sleep(time.Second) // a life goes by the second it began in
	s.Restart()
	require.False(t, extend(t, n, "k", 1, grant.Fence).Granted)
	vote := granted(t, n, "k", 1)
	require.Equal(t, grant.Fence+1, vote.Fence, "counters are kept")
	require.NotEqual(t, grant.Incarnation, vote.Incarnation)
	require.Positive(t, vote.Age)
	require.Less(t, vote.Age, time.Minute)
}
