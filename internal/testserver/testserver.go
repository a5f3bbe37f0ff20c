package testserver

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/server"
)

// TB is what the package needs of a test; *testing.T and *testing.B have it. It
// is an interface so that "testing", and its flags, are linked into no program.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// requireVar is the environment variable that turns skipping into failing.
const requireVar = "REDLOCK_TEST_REQUIRE"

// Server is a server of a test. It is not safe for concurrent use.
type Server struct {
	Port int

	tb TB
	*server.Server
}

// started ends the test if a server did not start, and the server with the test.
func started(tb TB, s *server.Server, err error) Server {
	tb.Helper()
	check(tb, err)
	tb.Cleanup(s.Close)
	return Server{Port: s.Port(), tb: tb, Server: s}
}

// check ends the test after an error, one way or the other.
func check(tb TB, err error) {
	tb.Helper()
	var missing *server.Missing
	switch {
	case err == nil:
	case errors.As(err, &missing) && os.Getenv(requireVar) == "1":
		tb.Fatalf("%v; %s=1 requires it", err, requireVar)
	case errors.As(err, &missing):
		tb.Skipf("this test cannot run: %v", err)
	case errors.Is(err, server.ErrNoClocks):
		tb.Skipf("%v", err)
	default:
		tb.Fatalf("%v", err)
	}
}

// Start starts the server again after a Kill, on the same port and directory.
func (s *Server) Start() {
	s.tb.Helper()
	check(s.tb, s.Server.Start())
}

// Restart kills the server and starts it again.
func (s *Server) Restart() {
	s.tb.Helper()
	check(s.tb, s.Server.Restart())
}

// RestartOften restarts the server again and again, each time this long after it was
// ready, until the test ends or calls end. Nobody else may start or end it meanwhile.
func (s *Server) RestartOften(pause time.Duration) (end func()) {
	s.tb.Helper()
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				ended <- nil
				return
			case <-time.After(pause):
			}
			if err := s.Server.Restart(); err != nil {
				ended <- err
				return
			}
		}
	}()
	end = sync.OnceFunc(func() {
		close(done)
		check(s.tb, <-ended)
	})
	s.tb.Cleanup(end)
	return end
}

// Stop freezes the server (SIGSTOP): connections stay open and new ones are
// taken by the kernel, but nothing answers.
func (s *Server) Stop() {
	s.tb.Helper()
	check(s.tb, s.Freeze())
}

// Cont lets a frozen server go on.
func (s *Server) Cont() {
	s.tb.Helper()
	check(s.tb, s.Thaw())
}

// Wipe removes the data of a server that does not run, as a container without a
// volume does.
func (s *Server) Wipe() {
	s.tb.Helper()
	check(s.tb, s.Server.Wipe())
}

// Redis is a redis-server of a test.
type Redis struct{ Server }

// StartRedis starts a redis-server that keeps nothing on disk. Arguments are
// added to its command line and win over the defaults, for instance
// "--appendonly", "yes" or "--requirepass", "secret". It returns once the server
// takes connections, and the server ends with the test at the latest.
func StartRedis(tb TB, args ...string) *Redis {
	tb.Helper()
	s, err := server.StartRedis(tb.TempDir(), nil, args...)
	return &Redis{started(tb, s, err)}
}

// MariaDB is a mariadbd of a test.
type MariaDB struct{ Server }

// MariaDBDatabase is the database that a MariaDB begins with.
const MariaDBDatabase = server.MariaDBDatabase

// StartMariaDB starts a mariadbd with the user root, who has no password, and an
// empty database. Its commits survive a kill, and it keeps no binary log. Arguments
// are added to its command line and win over the defaults, for instance
// "--innodb-flush-log-at-trx-commit=2". It returns once the server takes
// connections, in about a third of a second, and the server ends with the test at
// the latest.
func StartMariaDB(tb TB, args ...string) *MariaDB {
	tb.Helper()
	s, err := server.StartMariaDB(tb.TempDir(), nil, args...)
	return &MariaDB{started(tb, s, err)}
}

// Socket is the path of the server's unix socket. Under a test with a long name it
// may be too long to connect to.
func (m *MariaDB) Socket() string { return server.MariaDBSocket(m.Server.Server) }

// DSN is the server's for go-sql-driver/mysql: root's, with the database, without
// parameters.
func (m *MariaDB) DSN() string { return server.MariaDBDSN(m.Addr()) }

// ZooKeeper is a ZooKeeper server of a test, an ensemble of one.
type ZooKeeper struct{ Server }

// ZooKeeperOptions adjusts a ZooKeeper server of a test.
type ZooKeeperOptions = server.ZooKeeperOptions

// StartZooKeeper starts a ZooKeeper server. It returns once a session was made
// and ended, and the server ends with the test at the latest.
func StartZooKeeper(tb TB, opts ZooKeeperOptions) *ZooKeeper {
	tb.Helper()
	s, err := server.StartZooKeeper(tb.TempDir(), nil, opts)
	return &ZooKeeper{started(tb, s, err)}
}

// StartZooKeeperEnsemble starts so many ZooKeeper servers that are one ensemble. They end
// with the test at the latest.
func StartZooKeeperEnsemble(tb TB, servers int, opts ZooKeeperOptions) []*ZooKeeper {
	tb.Helper()
	all, err := server.StartZooKeeperEnsemble(tb.TempDir(), servers, opts)
	check(tb, err)
	var members []*ZooKeeper
	for _, s := range all {
		members = append(members, &ZooKeeper{started(tb, s, nil)})
	}
	return members
}

// Proxy stands between clients and one server and does harm on request.
type Proxy = server.Proxy

// StartProxy starts a proxy in front of a server. It ends with the test.
func StartProxy(tb TB, target string) *Proxy {
	tb.Helper()
	p, err := server.StartProxy(target, 1)
	check(tb, err)
	tb.Cleanup(p.Close)
	return p
}

// Clock is the wall clock of servers that are started with it. It goes with the
// machine's until it is told to jump.
type Clock struct {
	tb    TB
	clock *server.Clock
}

// NewClock makes a clock for servers started in the test. It needs Linux and a C
// compiler.
func NewClock(tb TB) *Clock {
	tb.Helper()
	dir := tb.TempDir()
	library, err := server.ClockLibrary(dir)
	check(tb, err)
	clock, err := server.NewClock(library, filepath.Join(dir, "clock"))
	check(tb, err)
	tb.Cleanup(func() { _ = clock.Close() })
	return &Clock{tb: tb, clock: clock}
}

// Jump puts the servers' clock ahead of the machine's by d, or behind if d is
// negative.
func (c *Clock) Jump(d time.Duration) {
	c.tb.Helper()
	check(c.tb, c.clock.Set(d))
}

// StartMariaDB starts a mariadbd on this clock; see the function StartMariaDB.
func (c *Clock) StartMariaDB(tb TB, args ...string) *MariaDB {
	tb.Helper()
	s, err := server.StartMariaDB(tb.TempDir(), c.clock, args...)
	return &MariaDB{started(tb, s, err)}
}

// StartRedis starts a redis-server on this clock; see the function StartRedis.
func (c *Clock) StartRedis(tb TB, args ...string) *Redis {
	tb.Helper()
	s, err := server.StartRedis(tb.TempDir(), c.clock, args...)
	return &Redis{started(tb, s, err)}
}
