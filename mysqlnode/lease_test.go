package mysqlnode_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
)

// Rule 9: whether a crash loses grants is the server's settings' to say.
func TestAge(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		durable bool
		lasting bool
	}{
		"not synced":               {[]string{"--innodb-flush-log-at-trx-commit=2"}, false, false},
		"not synced, but declared": {[]string{"--innodb-flush-log-at-trx-commit=0"}, true, true},
		"binary log not synced":    {[]string{"--log-bin", "--server-id=7"}, false, false},
		"binary log of statements": {[]string{"--log-bin", "--server-id=7", "--sync-binlog=1", "--binlog-format=STATEMENT"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testserver.StartMariaDB(t, tc.args...)
			n := ready(t, s, func(o *mysqlnode.Options) { o.Durable = tc.durable })
			grant := granted(t, n, "k", 1)
			time.Sleep(time.Second) // a life goes by the second it began in
			s.Restart()
			vote := acquire(t, n, "k", 2)
			require.NotEqual(t, grant.Incarnation, vote.Incarnation)
			if tc.lasting {
				require.Zero(t, grant.Age)
				require.Zero(t, vote.Age)
				require.Equal(t, owner(1), vote.Holder)
				return
			}
			require.Positive(t, grant.Age)
			require.Positive(t, vote.Age)
			require.Less(t, vote.Age, time.Minute)
		})
	}
}

// Of several owners who want a key that was never used, one gets it. What can go wrong
// takes a server that is busy: run it for longer, and several at once.
func TestNewKeyIsGrantedOnce(t *testing.T) {
	t.Parallel()
	s, own := shared(t)
	nodes := []*mysqlnode.Node{ready(t, s, own), ready(t, s, own), ready(t, s, own), ready(t, s, own)}
	for i := range 500 {
		key := fmt.Sprint(i)
		var all sync.WaitGroup
		var grants atomic.Int32
		for who, n := range nodes {
			all.Go(func() {
				if acquire(t, n, key, who).Granted {
					grants.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, grants.Load(), key)
	}
}

// A release is final also for a key that was never used, which has no row that the two
// could take turns by.
func TestReleaseOfANewKey(t *testing.T) {
	t.Parallel()
	s, own := shared(t)
	ready(t, s, own)
	for _, isolation := range []string{"REPEATABLE-READ", "READ-COMMITTED"} {
		t.Run(isolation, func(t *testing.T) {
			opts := mysqlnode.Options{}
			own(&opts)
			dsn := s.DSN() + "?multiStatements=true&tx_isolation=%27" + isolation + "%27"
			n, other := closing(t, mysqlnode.New(database(t, dsn), opts)), closing(t, mysqlnode.New(database(t, dsn), opts))
			for i := range 300 {
				key := fmt.Sprint(isolation, i)
				var both sync.WaitGroup
				both.Go(func() { acquire(t, n, key, 1) })
				release(t, other, key, 1)
				both.Wait()
				require.False(t, inspect(t, n, key).Held, i)
			}
		})
	}
}

// Behind a proxy that keeps connections the marks of sessions prove nothing.
func TestProxiedAsksAlways(t *testing.T) {
	s := testserver.StartMariaDB(t, "--innodb-flush-log-at-trx-commit=2")
	n := ready(t, s, func(o *mysqlnode.Options) { o.Proxied = true })
	db := database(t, s.DSN())
	first := granted(t, n, "k", 1)
	before := number(t, db, "SELECT variable_value FROM information_schema.global_status WHERE variable_name='Com_show_status'")
	for range 3 {
		require.Equal(t, first.Incarnation, granted(t, n, "k", 1).Incarnation)
	}
	require.EqualValues(t, before+3, number(t, db, "SELECT variable_value FROM information_schema.global_status WHERE variable_name='Com_show_status'"))
}

// The address leads to another server, which has none of the first one's grants,
// however durable and old it is.
func TestFailoverIsSeen(t *testing.T) {
	first, second := testserver.StartMariaDB(t), testserver.StartMariaDB(t)
	ready(t, first)
	ready(t, second)
	var addr atomic.Value
	addr.Store(first.Addr())
	mysql.RegisterDialContext("failover", func(ctx context.Context, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr.Load().(string))
	})
	t.Cleanup(func() { mysql.DeregisterDialContext("failover") })
	clock := redlock.NewManualClock(time.Now())
	n := closing(t, mysqlnode.New(nil, mysqlnode.Options{DSN: "root@failover(x)/locks", Clock: clock}))
	require.Zero(t, granted(t, n, "k", 1).Age)

	addr.Store(second.Addr())
	first.Kill()
	vote := acquire(t, n, "k", 2)
	require.True(t, vote.Granted)
	require.EqualValues(t, 1, vote.Age, "counted from the failover, not from its start")
	clock.Advance(time.Minute)
	require.Equal(t, time.Minute, acquire(t, n, "k", 2).Age)

	declared := closing(t, mysqlnode.New(nil, mysqlnode.Options{DSN: "root@failover(x)/locks", Durable: true}))
	require.Zero(t, acquire(t, declared, "k", 2).Age)
}

// Many at once, on keys of their own and on one that all want: no deadlock, no
// timeout, nothing but votes comes out.
func TestConcurrency(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, _ mysqlnode.Mode, own func(*mysqlnode.Options)) {
		// Sixty-four connections at once take a busy machine long.
		patient := func(o *mysqlnode.Options) {
			*o = mysqlnode.Options{DSN: s.DSN() + "?timeout=30s", Name: o.Name}
			own(o)
		}
		n := ready(t, s, patient)
		var wg sync.WaitGroup
		var inside sync.Mutex
		hot := 0
		for w := range 64 {
			wg.Go(func() {
				for i := range 6 {
					who := w*100 + i
					for _, key := range []string{fmt.Sprint("own", w), "hot"} {
						vote, err := tryAcquire(t.Context(), n, key, who, time.Minute)
						if err != nil || key != "hot" && !vote.Granted {
							t.Errorf("%s: %+v, %v", key, vote, err)
							return
						}
						if vote.Granted && key == "hot" {
							if !inside.TryLock() {
								t.Error("two holders")
							} else {
								hot++
								inside.Unlock()
							}
						}
						if err := n.Release(t.Context(), redlock.ReleaseRequest{Key: key, Owner: owner(who)}); err != nil {
							t.Errorf("%s: %v", key, err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		require.Positive(t, hot)
	})
}

// What is not needed any more goes away in passing: tombstones after a minute, and
// the rows of keys after a week without use, but no row that is in use and no
// counter too early.
func TestSweep(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode, own func(*mysqlnode.Options)) {
		clock := redlock.NewManualClock(time.Now())
		table := ""
		n := ready(t, s, own, func(o *mysqlnode.Options) {
			table = o.Table
			o.Clock = clock
			o.TombstoneRetention = time.Millisecond
		})
		db := database(t, s.DSN())
		rows := table + map[mysqlnode.Mode]string{mysqlnode.Session: "_session"}[mode]
		for i := range 700 {
			exec(t, db, "INSERT INTO "+rows+" (k, owner, counter, expiry) VALUES (?, '', 5, 1)", fmt.Sprintf("old%03d\x00", i))
		}
		vote := granted(t, n, "held", 1)
		granted(t, n, "recent", 2)
		release(t, n, "recent", 2)
		exec(t, db, "UPDATE "+rows+" SET expiry=(UNIX_TIMESTAMP()-6*24*3600)*1000000 WHERE k='recent'")
		for i := range 600 {
			exec(t, db, "INSERT INTO "+rows+"_released VALUES ('x', ?, 1)", fmt.Sprint(i))
		}
		exec(t, db, "INSERT INTO "+rows+"_released VALUES ('x', 'stays', (UNIX_TIMESTAMP()+3600)*1000000)")
		require.Eventually(t, func() bool {
			clock.Advance(11 * time.Second)
			inspect(t, n, "held")
			return number(t, db, "SELECT COUNT(*) FROM "+rows) == 2 && number(t, db, "SELECT COUNT(*) FROM "+rows+"_released") == 1
		}, patience, 10*time.Millisecond)
		require.EqualValues(t, 2, granted(t, n, "recent", 3).Fence, "the counter is kept")
		if mode == mysqlnode.Lease { // the other one's TTL is the clock's, which was moved
			require.True(t, extend(t, n, "held", 1, vote.Fence).Granted)
		}
	})
}

// A tombstone outlives the process that left it, and its connections.
func TestTombstonesAreOnTheServer(t *testing.T) {
	s := testserver.StartMariaDB(t)
	a, b := ready(t, s), node(t, s.Addr())
	release(t, a, "k", 1)
	s.Restart()
	require.False(t, acquire(t, b, "k", 1).Granted)
	require.True(t, granted(t, b, "k", 2).Granted)
}

// Tokens of a client with a fast clock run ahead; the numbers stay exact.
func TestLargeFences(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, _ mysqlnode.Mode, own func(*mysqlnode.Options)) {
		n := ready(t, s, own)
		vote := granted(t, n, "k", 1)
		confirmed, err := n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, Token: redlock.MaxFence - 1})
		require.NoError(t, err)
		require.EqualValues(t, redlock.MaxFence-1, confirmed.Counter)
		release(t, n, "k", 1)
		require.EqualValues(t, redlock.MaxFence, granted(t, n, "k", 2).Fence)
		release(t, n, "k", 2)
		_, err = tryAcquire(t.Context(), n, "k", 3, time.Minute)
		require.ErrorContains(t, err, "fences of this key are used up")
		require.False(t, inspect(t, n, "k").Held)
		_, err = n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: 1, Token: redlock.MaxFence + 1})
		require.ErrorContains(t, err, "MaxFence")
	})
}

// What cannot be asked of any server.
func TestBadRequests(t *testing.T) {
	n := node(t, "127.0.0.1:1")
	for want, req := range map[string]redlock.AcquireRequest{
		"the key is empty":      {Owner: owner(1), TTL: time.Second},
		"longer than 512 bytes": {Key: strings.Repeat("k", 513), Owner: owner(1), TTL: time.Second},
		"the owner is empty":    {Key: "k", TTL: time.Second},
		"longer than 64 bytes":  {Key: "k", Owner: strings.Repeat("o", 65), TTL: time.Second},
		"must be positive":      {Key: "k", Owner: owner(1)},
	} {
		_, err := n.Acquire(t.Context(), req)
		require.ErrorContains(t, err, want)
	}
	_, err := n.Extend(t.Context(), redlock.ExtendRequest{Key: "k", Owner: owner(1)})
	require.ErrorContains(t, err, "must be positive")
}

// The rights that the documentation names are enough, for either kind.
func TestRights(t *testing.T) {
	s, own := shared(t)
	admin := database(t, s.DSN())
	ready(t, s, own)
	ready(t, s, own, sessions)
	exec(t, admin, "CREATE OR REPLACE USER 'locks' IDENTIFIED BY 'hunter2'")
	var opts mysqlnode.Options
	own(&opts)
	for _, suffix := range []string{"", "_released", "_session", "_session_released"} {
		exec(t, admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON locks."+opts.Table+suffix+" TO 'locks'")
	}
	for _, mode := range []mysqlnode.Mode{mysqlnode.Lease, mysqlnode.Session} {
		n := node(t, s.Addr(), own, inMode(mode), func(o *mysqlnode.Options) { o.User, o.Password = "locks", "hunter2" })
		require.NoError(t, n.Init(t.Context()), "there is nothing to create")
		vote := granted(t, n, "k", 1)
		require.True(t, extend(t, n, "k", 1, vote.Fence).Granted)
		release(t, n, "k", 1)
		release(t, n, "k", 7)
		info, err := n.Probe(t.Context())
		require.NoError(t, err)
		require.Empty(t, info.Warnings)
	}
}

func TestProbe(t *testing.T) {
	for name, tc := range map[string]struct {
		args   []string
		change func(*mysqlnode.Options)
		setUp  string // %s stands for the table
		want   string
	}{
		"fine":                {nil, nil, "", ""},
		"fine sessions":       {nil, sessions, "", ""},
		"not synced":          {[]string{"--innodb-flush-log-at-trx-commit=2"}, nil, "", "the node waits after every restart; set 1"},
		"not synced, durable": {[]string{"--innodb-flush-log-at-trx-commit=0"}, func(o *mysqlnode.Options) { o.Durable = true }, "", "although the node is declared Durable"},
		"binary log":          {[]string{"--log-bin", "--server-id=7"}, nil, "", "sync_binlog is 0"},
		"binary log of statements": {[]string{"--log-bin", "--server-id=7", "--binlog-format=STATEMENT", "--transaction-isolation=READ-COMMITTED"}, sessions, "",
			"binlog_format is STATEMENT and transaction_isolation READ-COMMITTED"},
		"empty text is NULL": {[]string{"--sql-mode=EMPTY_STRING_IS_NULL,STRICT_ALL_TABLES"}, nil, "", ""},
		"read-only":          {[]string{"--loose-unknown"}, nil, "SET GLOBAL read_only=ON", "read_only is ON"},
		"other engine":       {nil, nil, "ALTER TABLE %s ENGINE=MyISAM", "is MyISAM"},
		"no table":           {nil, nil, "DROP TABLE %s", "run Init"},
		"no tombstones":      {nil, nil, "DROP TABLE %s_released", "run Init"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, own := shared(t)
			if tc.args != nil {
				s = testserver.StartMariaDB(t, tc.args...)
			}
			opts := mysqlnode.Options{}
			own(&opts)
			change := tc.change
			if change == nil {
				change = func(*mysqlnode.Options) {}
			}
			n := ready(t, s, own, change)
			if tc.setUp != "" {
				exec(t, database(t, s.DSN()), strings.ReplaceAll(tc.setUp, "%s", opts.Table))
			}
			info, err := n.Probe(within(t, patience))
			require.NoError(t, err)
			require.Contains(t, []string{"mysql lease", "mysql session"}, info.Kind)
			require.Contains(t, info.Version, "MariaDB")
			require.WithinDuration(t, time.Now(), info.Clock, time.Hour)
			require.NotEmpty(t, info.Incarnation)
			require.Equal(t, inspectIncarnation(t, n), info.Incarnation)
			if tc.want == "" {
				require.Empty(t, info.Warnings)
				return
			}
			require.Contains(t, strings.Join(info.Warnings, "\n"), tc.want)
		})
	}
}

// inspectIncarnation is that of the votes, or what can be had without a table.
func inspectIncarnation(t *testing.T, n *mysqlnode.Node) string {
	t.Helper()
	state, err := n.Inspect(context.Background(), "k")
	if err != nil {
		info, err := n.Probe(within(t, patience))
		require.NoError(t, err)
		return info.Incarnation
	}
	return state.Incarnation
}
