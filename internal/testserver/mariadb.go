package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MariaDB is a mariadbd of a test. It is not safe for concurrent use.
type MariaDB struct {
	Port int

	tb   TB
	path string
	dir  string
	env  []string
	args []string
	run  *process // nil while it is not running
}

const mariaInstall = "apt-get install mariadb-server (set RUNLEVEL=1 to leave its service alone), or brew install mariadb"

const socketName = "socket"

// MariaDBDatabase is the database that a MariaDB begins with.
const MariaDBDatabase = "locks"

// StartMariaDB starts a mariadbd with the user root, who has no password, and an
// empty database. Its commits survive a kill, and it keeps no binary log. Arguments
// are added to its command line and win over the defaults, for instance
// "--innodb-flush-log-at-trx-commit=2". It returns once the server takes
// connections, in about a third of a second, and the server ends with the test at
// the latest.
func StartMariaDB(tb TB, args ...string) *MariaDB {
	tb.Helper()
	return startMariaDB(tb, nil, args)
}

func startMariaDB(tb TB, env, args []string) *MariaDB {
	tb.Helper()
	m := &MariaDB{tb: tb, path: program(tb, "mariadbd", mariaInstall), dir: tb.TempDir(), env: env, args: args}
	tb.Cleanup(m.Close)
	if err := copyMariaTemplate(tb, m.data()); err != nil {
		tb.Fatalf("mariadbd: its first data: %v", err)
	}
	for range startTries {
		m.Port = freePort(tb)
		log, ok := m.start()
		if ok {
			return m
		}
		if !strings.Contains(log, "Address already in use") {
			tb.Fatalf("mariadbd did not start:\n%s", log)
		}
	}
	tb.Fatalf("mariadbd found its port taken %d times in a row", startTries)
	return nil
}

// Addr is the server's address, host:port.
func (m *MariaDB) Addr() string { return localAddr(m.Port) }

// Socket is the path of the server's unix socket. Under a test with a long name it
// may be too long to connect to.
func (m *MariaDB) Socket() string { return filepath.Join(m.data(), socketName) }

// DSN is the server's for go-sql-driver/mysql: root's, with the database, without
// parameters.
func (m *MariaDB) DSN() string { return "root@tcp(" + m.Addr() + ")/" + MariaDBDatabase }

// Log is what the server has printed since its last start.
func (m *MariaDB) Log() string {
	if m.run == nil {
		return ""
	}
	return m.run.out.String()
}

// Start starts the server again after a Kill, on the same port and data.
func (m *MariaDB) Start() {
	m.tb.Helper()
	if m.run != nil {
		m.tb.Fatalf("mariadbd on port %d runs already", m.Port)
	}
	if log, ok := m.start(); !ok {
		m.tb.Fatalf("mariadbd did not start again on port %d:\n%s", m.Port, log)
	}
}

// Kill ends the server at once, as a crash would (SIGKILL).
func (m *MariaDB) Kill() {
	if m.run != nil {
		m.run.kill()
		m.run = nil
	}
}

// Restart kills the server and starts it again.
func (m *MariaDB) Restart() {
	m.tb.Helper()
	m.Kill()
	m.Start()
}

// Stop freezes the server (SIGSTOP): connections stay open and new ones are
// taken by the kernel, but nothing answers.
func (m *MariaDB) Stop() {
	m.tb.Helper()
	m.signal("freeze", freeze)
	awaitStop(m.run.cmd.Process.Pid)
}

// awaitStop waits until all threads of a process have stopped, where the system
// shows them (Linux): the signal stops one, which stops the others, and on a busy
// machine some serve a request or two in between.
func awaitStop(pid int) {
	for range 1000 {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		running := false
		for _, file := range files {
			stat, err := os.ReadFile(file)
			// The state follows the name, which is in parentheses.
			running = running || err == nil && !strings.Contains(string(stat), ") T ")
		}
		if !running {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Cont lets a frozen server go on.
func (m *MariaDB) Cont() {
	m.tb.Helper()
	m.signal("resume", resume)
}

// Close ends the server for good. It may be called more than once.
func (m *MariaDB) Close() { m.Kill() }

func (m *MariaDB) data() string { return filepath.Join(m.dir, "data") }

// start runs the server and waits until it is ready. Small logs and buffers save
// disk and time.
func (m *MariaDB) start() (log string, ok bool) {
	args := append([]string{
		"--no-defaults",
		"--datadir=" + m.data(),
		"--socket=" + socketName, // relative to the data: a path may be too long
		"--pid-file=" + filepath.Join(m.dir, "pid"),
		"--tmpdir=" + m.dir, // a server that starts removes what others have in a common one
		"--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(m.Port),
		"--skip-name-resolve",
		"--performance-schema=OFF",
		"--max-connections=500",
		"--key-buffer-size=1M",
		"--aria-pagecache-buffer-size=1M",
		"--innodb-buffer-pool-size=16M",
		"--innodb-buffer-pool-load-at-startup=OFF",
	}, smallLogs...)
	args = append(args, asUser()...)
	run, err := startProcessIn(m.env, m.path, append(args, m.args...)...)
	if err != nil {
		return err.Error(), false
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if !run.waitFor(ctx, "ready for connections") {
		run.kill()
		return run.out.String(), false
	}
	m.run = run
	return "", true
}

func (m *MariaDB) signal(what string, send func(*os.Process) error) {
	m.tb.Helper()
	if m.run == nil {
		m.tb.Fatalf("cannot %s mariadbd on port %d: it does not run", what, m.Port)
	}
	if err := send(m.run.cmd.Process); err != nil {
		m.tb.Fatalf("cannot %s mariadbd on port %d: %v", what, m.Port, err)
	}
}

// smallLogs must be the same for making a data directory as for using it.
var smallLogs = []string{"--innodb-log-file-size=16M", "--aria-log-file-size=8M"}

// asUser lets root run the server, which it must be told to.
func asUser() []string {
	if u, err := user.Current(); err == nil && u.Uid == "0" {
		return []string{"--user=root"}
	}
	return nil
}

// mariaTemplate is a data directory that is made once a test process, which takes
// a second or more, and copied for each server, which takes a tenth of one.
var mariaTemplate struct {
	sync.Once
	files map[string][]byte // by path; nil for a directory
	err   error
}

// copyMariaTemplate makes a data directory.
func copyMariaTemplate(tb TB, to string) error {
	tb.Helper()
	install := program(tb, "mariadb-install-db", mariaInstall)
	mariaTemplate.Do(func() { mariaTemplate.files, mariaTemplate.err = makeMariaTemplate(install) })
	if mariaTemplate.err != nil {
		return mariaTemplate.err
	}
	for path, content := range mariaTemplate.files {
		path = filepath.Join(to, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if content == nil {
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			continue
		}
		if err := writeSparse(path, content); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(to, MariaDBDatabase), 0o700) // a database is a directory
}

// makeMariaTemplate keeps the files in memory, so that nothing stays behind when
// the test process ends, however it does.
func makeMariaTemplate(install string) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "data")
	args := append([]string{"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db"}, smallLogs...)
	cmd := exec.Command(install, append(args, asUser()...)...)
	// A server that starts removes what others have in a common directory.
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w:\n%s", err, out)
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(data, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, path)
		if err != nil || entry.IsDir() {
			files[name] = nil
			return err
		}
		files[name], err = os.ReadFile(path)
		if files[name] == nil {
			files[name] = []byte{}
		}
		return err
	})
	return files, err
}

// writeSparse leaves out what is zero: most of the logs and tablespaces is.
func writeSparse(path string, content []byte) error {
	const block = 4096
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var zero [block]byte
	for at := 0; at < len(content); at += block {
		end := min(at+block, len(content))
		if string(content[at:end]) == string(zero[:end-at]) {
			continue
		}
		if _, err := f.WriteAt(content[at:end], int64(at)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(content)))
}
