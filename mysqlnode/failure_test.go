package mysqlnode_test

import (
	"context"
	"database/sql"
	"io"
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

// Rule 8, with the server frozen as a machine under swap is.
func TestCallsEndWithTheirContext(t *testing.T) {
	bothModes(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode) {
		t.Cleanup(s.Cont)
		users := database(t, s.DSN()+"?multiStatements=true")
		for name, n := range map[string]*mysqlnode.Node{
			"own":    ready(t, s, inMode(mode)),
			"user's": closing(t, mysqlnode.New(users, mysqlnode.Options{Mode: mode})),
		} {
			key := name
			granted(t, n, key, 1)
			s.Stop()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			ends(t, func() error { _, err := tryAcquire(ctx, n, key, 1, time.Minute); return err }, context.DeadlineExceeded)
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			ends(t, func() error { _, err := tryAcquire(ctx, n, key+"2", 1, time.Minute); return err }, context.Canceled)
			ends(t, func() error {
				return n.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: owner(1)})
			}, context.Canceled)
			ends(t, func() error { _, err := n.Probe(ctx); return err }, context.Canceled)
			ends(t, func() error { return n.Init(ctx) }, context.Canceled)
			s.Cont()
			release(t, n, key, 1)
			becomesFree(t, n, key)
		}
	})
}

// ends demands that a call ends long before any timeout of the driver.
func ends(t *testing.T, call func() error, want error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, "mysqlnode ")
	case <-time.After(patience):
		require.Fail(t, "the call outlives its context")
	}
}

func closing(t *testing.T, n *mysqlnode.Node) *mysqlnode.Node {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// Somebody's open transaction, a backup's say, may hold a row for long. A call
// ends with its context, its transaction leaves the server within a second, and
// afterwards nothing is in the way.
func TestRowLockedByOthers(t *testing.T) {
	bothModes(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode) {
		users := database(t, s.DSN()+"?multiStatements=true")
		rows := map[mysqlnode.Mode]string{mysqlnode.Lease: "redlock", mysqlnode.Session: "redlock_session"}[mode]
		for name, n := range map[string]*mysqlnode.Node{
			"own":    ready(t, s, inMode(mode)),
			"user's": closing(t, mysqlnode.New(users, mysqlnode.Options{Mode: mode})),
		} {
			vote := granted(t, n, name, 1)
			tx, err := users.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), "SELECT * FROM "+rows+" FOR UPDATE")
			require.NoError(t, err)

			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			ends(t, func() error { _, err := tryAcquire(ctx, n, name, 1, time.Minute); return err }, context.DeadlineExceeded)
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 1500*time.Millisecond) // longer than the server waits
			ends(t, func() error { return n.Release(ctx, redlock.ReleaseRequest{Key: name, Owner: owner(2)}) }, context.DeadlineExceeded)
			cancel()
			transactions(t, users, "trx_state='LOCK WAIT'", "ghosts wait in the server")

			require.NoError(t, tx.Rollback())
			release(t, n, name, 1)
			require.Greater(t, granted(t, n, name, 3).Fence, vote.Fence)
			transactions(t, users, "1=1", "open transactions")
		}
		require.EqualValues(t, 50, number(t, users, "SELECT @@innodb_lock_wait_timeout"), "a user's session was changed")
	})
}

// transactions waits until there are none of a kind. The table is a cache, which is
// not filled anew while it is read more often than every 100 ms.
func transactions(t *testing.T, db *sql.DB, kind, what string) {
	t.Helper()
	require.Eventually(t, func() bool {
		return number(t, db, "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE "+kind) == 0
	}, patience, 250*time.Millisecond, what)
}

// A request whose reply is lost has been carried out. Whoever repeats it must
// find the same grant and not a second one, if it outlived its connection.
func TestLostReply(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode, own func(*mysqlnode.Options)) {
		proxy := testserver.StartProxy(t, s.Addr())
		ready(t, s, own)
		n := node(t, proxy.Addr(), own)
		inspect(t, n, "warm")
		connections := proxy.Connections()
		proxy.DropReply()
		_, err := tryAcquire(within(t, patience), n, "k", 1, time.Minute)
		require.Error(t, err, "a lost reply is an unknown outcome")
		require.ErrorContains(t, err, "closed the connection")
		require.Equal(t, connections, proxy.Connections(), "it was tried again behind our back")
		if mode == mysqlnode.Lease {
			require.EqualValues(t, 1, granted(t, n, "k", 1).Fence)
			return
		}
		becomesFree(t, n, "k") // the grant died with its connection
		require.EqualValues(t, 2, granted(t, n, "k", 1).Fence)
	})
}

// Idle connections that died with the server are no reason to fail.
func TestStaleConnections(t *testing.T) {
	bothModes(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode) {
		n := ready(t, s, inMode(mode))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { _, _ = n.Inspect(t.Context(), "k") })
		}
		wg.Wait()
		s.Restart()
		inspect(t, n, "k")
	})
}

// What people get wrong most should not need a debugger.
func TestErrorsExplain(t *testing.T) {
	s := testserver.StartMariaDB(t)
	secure := testserver.StartMariaDB(t, "--require-secure-transport=ON")
	readOnly := testserver.StartMariaDB(t)
	statements := testserver.StartMariaDB(t, "--log-bin", "--server-id=7", "--binlog-format=STATEMENT", "--transaction-isolation=READ-COMMITTED")
	ready(t, statements)
	ready(t, readOnly)
	admin := database(t, s.DSN())
	exec(t, admin, "CREATE OR REPLACE USER 'locks' IDENTIFIED BY 'hunter2'")
	exec(t, admin, "CREATE OR REPLACE USER 'reader' IDENTIFIED BY 'hunter2'")
	exec(t, admin, "CREATE DATABASE granted")
	ready(t, s, func(o *mysqlnode.Options) { o.Database = "granted" })
	exec(t, admin, "GRANT SELECT ON granted.* TO 'reader'")
	exec(t, admin, "CREATE TABLE granted.other (k INT)")
	roAdmin := database(t, readOnly.DSN())
	exec(t, roAdmin, "CREATE OR REPLACE USER 'locks' IDENTIFIED BY 'hunter2'")
	exec(t, roAdmin, "GRANT SELECT, INSERT, UPDATE, DELETE ON locks.* TO 'locks'")
	exec(t, roAdmin, "SET GLOBAL read_only=ON")

	as := func(user, password, db string) func(*mysqlnode.Options) {
		return func(o *mysqlnode.Options) { o.User, o.Password, o.Database = user, password, db }
	}
	for name, tc := range map[string]struct {
		node *mysqlnode.Node
		want string
	}{
		"wrong password":   {node(t, s.Addr(), as("locks", "secret7", "granted")), "does not take this user name or password"},
		"no right to db":   {node(t, s.Addr(), as("locks", "hunter2", "granted")), "no right to this database"},
		"no such db":       {node(t, s.Addr(), as("root", "", "nowhere")), "create it first"},
		"no db":            {node(t, s.Addr(), as("root", "", "")), "no database is chosen"},
		"no table":         {node(t, s.Addr()), "the table is missing: run Init or `redlock nodes --init`"},
		"not our table":    {node(t, s.Addr(), as("root", "", "granted"), func(o *mysqlnode.Options) { o.Table = "other" }), "set another Options.Table"},
		"reader":           {node(t, s.Addr(), as("reader", "hunter2", "granted")), "needs SELECT, INSERT, UPDATE and DELETE on `redlock`"},
		"reader, which":    {node(t, s.Addr(), as("reader", "hunter2", "granted")), "INSERT, UPDATE command denied"},
		"read-only":        {node(t, readOnly.Addr(), as("locks", "hunter2", "locks")), "read-only"},
		"binary log":       {node(t, statements.Addr()), "set binlog_format to ROW or MIXED, or transaction_isolation to REPEATABLE-READ"},
		"TLS only":         {node(t, secure.Addr()), "none without TLS"},
		"dead port":        {node(t, deadAddr(t)), "refused"},
		"another server":   {node(t, listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") })), "another kind of server"},
		"closing server":   {node(t, listen(t, func(c net.Conn) { _ = c.Close() })), "another kind of server"},
		"mute server":      {node(t, listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })), "deadline exceeded"},
		"one statement":    {closing(t, mysqlnode.New(database(t, s.DSN()), mysqlnode.Options{})), "multiStatements=true"},
		"sessions as well": {node(t, s.Addr(), sessions), "the table is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			limit := patience
			if strings.HasPrefix(name, "mute") {
				limit = 100 * time.Millisecond
			}
			_, err := tryAcquire(within(t, limit), tc.node, "k", 1, time.Minute)
			require.ErrorContains(t, err, "mysqlnode "+tc.node.Name()+": acquire: ")
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "secret7")
			t.Log(err)
		})
	}
	err := node(t, s.Addr(), as("reader", "hunter2", "granted"), func(o *mysqlnode.Options) { o.Table = "new" }).Init(within(t, patience))
	require.ErrorContains(t, err, "must have the right CREATE to run Init")
	t.Log(err)
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

// New has one result, so that a quorum is written down in one expression; what is
// wrong must then come out of the first call, and never as a panic.
func TestInvalidOptions(t *testing.T) {
	db := database(t, "root@tcp(127.0.0.1:1)/x?multiStatements=true")
	for name, tc := range map[string]struct {
		db   *sql.DB
		opts mysqlnode.Options
		want string
	}{
		"nothing":         {nil, mysqlnode.Options{}, "neither a database nor Options.DSN"},
		"url":             {nil, mysqlnode.Options{Addr: "mysql://me:hunter2@host:3306"}, "not a URL"},
		"credentials":     {nil, mysqlnode.Options{Addr: "me:hunter2@host:3306"}, "not a URL"},
		"dsn":             {nil, mysqlnode.Options{DSN: "me:hunter2@host:3306"}, "DSN cannot be parsed"},
		"dsn and addr":    {nil, mysqlnode.Options{DSN: "me@tcp(h:1)/x", Addr: "h:1"}, "DSN says it all"},
		"network":         {nil, mysqlnode.Options{Addr: "h:1", Network: "udp"}, "tcp or unix"},
		"mode":            {nil, mysqlnode.Options{Addr: "h:1", Mode: 7}, "Mode(7)"},
		"table":           {nil, mysqlnode.Options{Addr: "h:1", Table: "a`b"}, "letters, digits"},
		"long table":      {nil, mysqlnode.Options{Addr: "h:1", Table: strings.Repeat("x", 41)}, "up to 40"},
		"three parts":     {nil, mysqlnode.Options{Addr: "h:1", Table: "a.b.c"}, "letters, digits"},
		"rows, no table":  {nil, mysqlnode.Options{Addr: "h:1", NoTable: true}, "NoTable is for Mode Session"},
		"durable session": {nil, mysqlnode.Options{Addr: "h:1", Durable: true, Mode: mysqlnode.Session}, "Durable is for Mode Lease"},
		"fence retention": {nil, mysqlnode.Options{Addr: "h:1", FenceRetention: redlock.HintHorizon}, "FenceRetention"},
		"tombstone":       {nil, mysqlnode.Options{Addr: "h:1", TombstoneRetention: -1}, "TombstoneRetention"},
		"both":            {db, mysqlnode.Options{Addr: "h:1"}, "cannot change the one given"},
		"both, dsn":       {db, mysqlnode.Options{DSN: "me:hunter2@tcp(h:1)/x"}, "cannot change the one given"},
	} {
		t.Run(name, func(t *testing.T) {
			n := mysqlnode.New(tc.db, tc.opts)
			_, err := tryAcquire(t.Context(), n, "k", 1, time.Minute)
			require.ErrorContains(t, err, tc.want)
			_, err = n.Inspect(t.Context(), "k")
			require.ErrorContains(t, err, tc.want)
			_, err = n.Probe(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}), tc.want)
			require.ErrorContains(t, n.Init(t.Context()), tc.want)
			require.Empty(t, n.Schema())
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, n.Name(), "hunter2")
			require.NoError(t, n.Close())
		})
	}
}

// Close must not end a database that others use, but what the node holds by it.
func TestCloseSparesAUsersDatabase(t *testing.T) {
	bothOnShared(t, func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode, own func(*mysqlnode.Options)) {
		db := database(t, s.DSN()+"?multiStatements=true")
		var opts mysqlnode.Options
		own(&opts)
		n := mysqlnode.New(db, opts)
		require.Equal(t, "mysql", n.Name())
		require.NoError(t, n.Init(t.Context()))
		granted(t, n, "k", 1)
		require.NoError(t, n.Close())
		require.NoError(t, db.PingContext(t.Context()))
		require.Zero(t, db.Stats().InUse)

		ours := node(t, s.Addr(), own)
		require.Equal(t, s.Addr()+"/locks", ours.Name())
		require.Equal(t, mode == mysqlnode.Lease, inspectUntil(t, ours, "k", mode == mysqlnode.Lease).Held)
		require.NoError(t, ours.Close())
		require.NoError(t, ours.Close(), "twice does no harm")
		for _, closed := range []*mysqlnode.Node{n, ours} {
			_, err := tryAcquire(t.Context(), closed, "k", 1, time.Minute)
			require.ErrorContains(t, err, "the node is closed")
			require.ErrorContains(t, closed.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}), "the node is closed")
		}
	})
}

// inspectUntil waits until the key is held, or is not.
func inspectUntil(t *testing.T, n redlock.Node, key string, held bool) redlock.NodeState {
	t.Helper()
	var state redlock.NodeState
	require.Eventually(t, func() bool { state = inspect(t, n, key); return state.Held == held }, patience, 5*time.Millisecond)
	return state
}

func TestUnixSocket(t *testing.T) {
	s, own := shared(t)
	n := node(t, s.Socket(), own)
	require.Equal(t, s.Socket()+"/locks", n.Name())
	require.NoError(t, n.Init(t.Context()))
	granted(t, n, "k", 1)
}

// A DSN serves as well, with parameters of its own, and another schema's table.
func TestDSN(t *testing.T) {
	s, _ := shared(t)
	exec(t, database(t, s.DSN()), "CREATE DATABASE IF NOT EXISTS elsewhere")
	n := closing(t, mysqlnode.New(nil, mysqlnode.Options{
		DSN:   "root@tcp(" + s.Addr() + ")/?time_zone=%27%2B05%3A00%27&sql_mode=%27ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES%27",
		Table: "elsewhere.my_locks",
	}))
	require.Equal(t, s.Addr()+"/", n.Name())
	require.NoError(t, n.Init(t.Context()))
	require.NoError(t, n.Init(t.Context()), "twice does no harm")
	require.WithinDuration(t, time.Now(), granted(t, n, "it's \"\\' \x00\xff", 1).Clock, time.Hour)
	require.Equal(t, owner(1), acquire(t, n, "it's \"\\' \x00\xff", 2).Holder)
	require.Len(t, n.Schema(), 2)
}

// A user's sessions may be set to anything.
func TestOddSessions(t *testing.T) {
	s, own := shared(t)
	ready(t, s, own)
	ready(t, s, own, sessions)
	for _, params := range []string{"autocommit=0", "tx_isolation=%27SERIALIZABLE%27", "tx_isolation=%27READ-COMMITTED%27", "sql_mode=%27ORACLE%27", "sql_mode=%27SIMULTANEOUS_ASSIGNMENT%27", "sql_mode=%27EMPTY_STRING_IS_NULL,STRICT_ALL_TABLES%27"} {
		for _, mode := range []mysqlnode.Mode{mysqlnode.Lease, mysqlnode.Session} {
			t.Run(params+" "+mode.String(), func(t *testing.T) {
				opts := mysqlnode.Options{Mode: mode}
				own(&opts)
				n := closing(t, mysqlnode.New(database(t, s.DSN()+"?multiStatements=true&"+params), opts))
				first := granted(t, n, params, 1)
				require.Equal(t, owner(1), acquire(t, n, params, 2).Holder)
				require.Equal(t, owner(1), inspect(t, n, params).Owner)
				require.True(t, extend(t, n, params, 1, first.Fence).Granted)
				release(t, n, params, 1)
				require.False(t, inspect(t, n, params).Held)
				require.Greater(t, granted(t, n, params, 3).Fence, first.Fence)
				release(t, n, params, 3)
			})
		}
	}
}

// All of it is one round trip, on a connection that is warm.
func TestRoundTrips(t *testing.T) {
	s, own := shared(t)
	var writes atomic.Int64
	mysql.RegisterDialContext("counted", func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		return countedConn{c, &writes}, err
	})
	t.Cleanup(func() { mysql.DeregisterDialContext("counted") })
	opts := mysqlnode.Options{DSN: "root@counted(" + s.Addr() + ")/locks"}
	own(&opts)
	n := closing(t, mysqlnode.New(nil, opts))
	require.NoError(t, n.Init(t.Context()))
	inspect(t, n, "k")
	granted(t, n, "held", 1)
	for name, call := range map[string]func(){
		"refused": func() { require.False(t, acquire(t, n, "held", 2).Granted) },
		"inspect": func() { inspect(t, n, "k") },
		"acquire, confirm, extend, release": func() {
			writes.Store(-3)
			fence := granted(t, n, "k", 1).Fence
			_, err := n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: fence, Token: fence + 1})
			require.NoError(t, err)
			require.True(t, extend(t, n, "k", 1, fence).Granted)
			release(t, n, "k", 1)
		},
	} {
		writes.Store(0)
		call()
		require.EqualValues(t, 1, writes.Load(), name)
	}
}

// countedConn counts requests: the driver writes each at once.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}
