package mysqlnode_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
)

// patience is how long a test waits for what must happen. Nothing is asserted to
// happen sooner, so a slow machine only makes tests slow.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if addr := os.Getenv(clientVar); addr != "" {
		client(addr)
		return
	}
	goleak.VerifyTestMain(wholeRun{m})
}

// wholeRun ends the shared server before goroutines are counted.
type wholeRun struct{ *testing.M }

func (r wholeRun) Run() int {
	defer runCleanups()
	return r.M.Run()
}

// clientVar makes this program a client that takes the key "k", on the server
// at that address, and does nothing more.
const clientVar = "REDLOCK_MYSQLNODE_TEST_CLIENT"

func client(addr string) {
	mode, ttl := mysqlnode.Lease, 1500*time.Millisecond
	if os.Getenv(clientVar+"_MODE") == mysqlnode.Session.String() {
		mode, ttl = mysqlnode.Session, time.Hour
	}
	n := mysqlnode.New(nil, mysqlnode.Options{Addr: addr, User: "root", Database: testserver.MariaDBDatabase, Mode: mode})
	vote, err := tryAcquire(context.Background(), n, "k", 1, ttl)
	fmt.Println("granted", vote.Granted, err)
	select {}
}

// bothModes runs a test for each kind of node, on a server of its own.
func bothModes(t *testing.T, test func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode)) {
	for _, mode := range []mysqlnode.Mode{mysqlnode.Lease, mysqlnode.Session} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			test(t, testserver.StartMariaDB(t), mode)
		})
	}
}

// bothOnShared runs a test for each kind of node, on the shared server.
func bothOnShared(t *testing.T, test func(t *testing.T, s *testserver.MariaDB, mode mysqlnode.Mode, own func(*mysqlnode.Options))) {
	for _, mode := range []mysqlnode.Mode{mysqlnode.Lease, mysqlnode.Session} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			s, table := shared(t)
			test(t, s, mode, func(o *mysqlnode.Options) { o.Mode = mode; table(o) })
		})
	}
}

// shared gives a test the server for those that neither end, nor freeze, nor set
// it, and a table of its own there.
func shared(t *testing.T) (*testserver.MariaDB, func(*mysqlnode.Options)) {
	t.Helper()
	sharedServer.Do(func() { sharedServer.s = testserver.StartMariaDB(wholeRunTB{t}) })
	if sharedServer.s == nil {
		t.Skip("the server could not be started; see the first test that was skipped or failed")
	}
	table := fmt.Sprintf("t%d", sharedServer.tables.Add(1))
	return sharedServer.s, func(o *mysqlnode.Options) { o.Table = table }
}

var sharedServer struct {
	sync.Once
	s      *testserver.MariaDB
	tables atomic.Int64
}

// wholeRunTB is of the test that came first, but what it cleans up stays until all
// tests have ended.
type wholeRunTB struct{ *testing.T }

var cleanups []func()

func runCleanups() {
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

func (tb wholeRunTB) Cleanup(f func()) { cleanups = append(cleanups, f) }

func (tb wholeRunTB) TempDir() string {
	dir, err := os.MkdirTemp("", "mysqlnode")
	require.NoError(tb.T, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func sessions(o *mysqlnode.Options) { o.Mode = mysqlnode.Session }

func inMode(mode mysqlnode.Mode) func(*mysqlnode.Options) {
	return func(o *mysqlnode.Options) { o.Mode = mode }
}

// node makes a node with its own database.
func node(t *testing.T, addr string, change ...func(*mysqlnode.Options)) *mysqlnode.Node {
	t.Helper()
	opts := mysqlnode.Options{Addr: addr, User: "root", Database: testserver.MariaDBDatabase}
	for _, f := range change {
		f(&opts)
	}
	n := mysqlnode.New(nil, opts)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// ready makes a node and its tables.
func ready(t *testing.T, s *testserver.MariaDB, change ...func(*mysqlnode.Options)) *mysqlnode.Node {
	t.Helper()
	n := node(t, s.Addr(), change...)
	require.NoError(t, n.Init(within(t, patience)))
	return n
}

// database opens a database as a user might.
func database(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(within(t, patience), statement, args...)
	require.NoError(t, err, statement)
}

func number(t *testing.T, db *sql.DB, query string, args ...any) (n int64) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(within(t, patience), query, args...).Scan(&n), query)
	return n
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func owner(i int) string { return fmt.Sprintf("%032x", i) }

func tryAcquire(ctx context.Context, n redlock.Node, key string, who int, ttl time.Duration) (redlock.Vote, error) {
	return n.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner(who), TTL: ttl})
}

func acquire(t *testing.T, n redlock.Node, key string, who int) redlock.Vote {
	t.Helper()
	vote, err := tryAcquire(within(t, patience), n, key, who, time.Minute)
	require.NoError(t, err)
	return vote
}

func granted(t *testing.T, n redlock.Node, key string, who int) redlock.Vote {
	t.Helper()
	vote := acquire(t, n, key, who)
	require.True(t, vote.Granted, "%+v", vote)
	return vote
}

func extend(t *testing.T, n redlock.Node, key string, who int, fence uint64) redlock.Vote {
	t.Helper()
	vote, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: key, Owner: owner(who), Fence: fence, TTL: time.Minute})
	require.NoError(t, err)
	return vote
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

// becomesFree waits until nobody has the key.
func becomesFree(t *testing.T, n redlock.Node, key string) {
	t.Helper()
	require.Eventually(t, func() bool { return !inspect(t, n, key).Held }, patience, 5*time.Millisecond)
}
