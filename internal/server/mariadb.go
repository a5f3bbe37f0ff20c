package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const mariaInstall = "apt-get install mariadb-server (set RUNLEVEL=1 to leave its service alone), or brew install mariadb"

const socketName = "socket"

// MariaDBDatabase is the database that a MariaDB begins with.
const MariaDBDatabase = "locks"

// StartMariaDB starts a mariadbd with the user root, who has no password, and an
// empty database. Its commits survive a kill, and it keeps no binary log. Arguments
// are added to its command line and win over the defaults. A clock, if not nil, is
// the server's. A start takes about a third of a second.
func StartMariaDB(dir string, clock *Clock, args ...string) (*Server, error) {
	return start(mariaKind, dir, clock, args)
}

var mariaKind = kind{
	name:     "mariadbd",
	patience: 60 * time.Second, // after a crash it mends its data first
	prepare:  func(s *Server) error { return copyMariaTemplate(s.Data()) },
	command:  mariaCommand,
	ready:    awaitText("ready for connections"),
}

// MariaDBSocket is the path of a MariaDB's unix socket. In a directory with a long
// name it may be too long to connect to.
func MariaDBSocket(s *Server) string { return filepath.Join(s.Data(), socketName) }

// MariaDBDSN is a MariaDB's for go-sql-driver/mysql: root's, with the database,
// without parameters.
func MariaDBDSN(addr string) string { return "root@tcp(" + addr + ")/" + MariaDBDatabase }

// mariaCommand has small logs and buffers, which save disk and time.
func mariaCommand(s *Server) (string, []string, error) {
	path, err := program("mariadbd", mariaInstall)
	args := append([]string{
		"--no-defaults",
		"--datadir=" + s.Data(),
		"--socket=" + socketName, // relative to the data: a path may be too long
		"--pid-file=" + filepath.Join(s.dir, "pid"),
		"--tmpdir=" + s.dir, // a server that starts removes what others have in a common one
		"--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(s.port),
		"--skip-name-resolve",
		"--performance-schema=OFF",
		"--max-connections=500",
		"--key-buffer-size=1M",
		"--aria-pagecache-buffer-size=1M",
		"--innodb-buffer-pool-size=16M",
		"--innodb-buffer-pool-load-at-startup=OFF",
	}, smallLogs...)
	return path, append(append(args, asUser()...), s.args...), err
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

// mariaTemplate is a data directory that is made once a process, which takes
// a second or more, and copied for each server, which takes a tenth of one.
var mariaTemplate struct {
	sync.Once
	files map[string][]byte // by path; nil for a directory
	err   error
}

// copyMariaTemplate makes a data directory.
func copyMariaTemplate(to string) error {
	_, missing := program("mariadbd", mariaInstall)
	install, err := program("mariadb-install-db", mariaInstall)
	if err := errors.Join(missing, err); err != nil {
		return err
	}
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
// the process ends, however it does.
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
