package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startTries is how many ports are tried: one that was free a moment ago may be
// taken when the server comes to it.
const startTries = 5

// Missing is the error of a program that a server needs and this machine lacks.
type Missing struct {
	Program string
	Install string // how to get it
}

// Error tells how to get it.
func (m *Missing) Error() string {
	return fmt.Sprintf("%s is not installed; install it with: %s", m.Program, m.Install)
}

// program finds a server's program.
func program(name, install string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &Missing{Program: name, Install: install}
	}
	return path, nil
}

// kind is what distinguishes the servers.
type kind struct {
	name     string
	patience time.Duration // for a start; generous
	prepare  func(s *Server) error
	command  func(s *Server) (path string, args []string, err error)
	ready    func(ctx context.Context, s *Server, run *process) error
}

// Server is a server that this process started. It is not safe for concurrent
// use.
type Server struct {
	kind   kind
	dir    string
	env    []string
	args   []string
	port   int
	run    *process // nil while it is not running
	frozen bool
	copies int
}

// start prepares a server's data and starts it on a port that is free.
func start(k kind, dir string, clock *Clock, args []string) (*Server, error) {
	s := &Server{kind: k, dir: dir, args: args}
	if clock != nil {
		s.env = clock.env
	}
	if err := os.MkdirAll(s.Data(), 0o700); err != nil {
		return nil, err
	}
	if k.prepare != nil {
		if err := k.prepare(s); err != nil {
			return nil, err
		}
	}
	var err error
	for range startTries {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.Start(); err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
	return nil, err
}

// errPortTaken says that another process was faster.
var errPortTaken = errors.New("the port was taken")

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("no free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Port is where the server listens, on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// Addr is the same as host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Data is the directory that holds all that the server keeps.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

// Running says that the server was started and not killed since. It may have
// ended by itself.
func (s *Server) Running() bool { return s.run != nil }

// Frozen says that it was frozen and not thawed since.
func (s *Server) Frozen() bool { return s.frozen }

// Log is what the server has printed since its last start.
func (s *Server) Log() string {
	if s.run == nil {
		return ""
	}
	return s.run.out.String()
}

// Start starts the server, again after a Kill, on the same port and data. It
// returns once the server takes connections.
func (s *Server) Start() error {
	if s.run != nil {
		return fmt.Errorf("%s on port %d runs already", s.kind.name, s.port)
	}
	path, args, err := s.kind.command(s)
	if err != nil {
		return err
	}
	run, err := startServer(s.env, path, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", s.kind.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.kind.patience)
	defer cancel()
	if err := s.kind.ready(ctx, s, run); err != nil {
		run.Kill()
		if strings.Contains(run.out.String(), "Address already in use") {
			err = errPortTaken
		}
		return fmt.Errorf("%s did not start on port %d: %w:\n%s", s.kind.name, s.port, err, run.out.String())
	}
	s.run, s.frozen = run, false
	return nil
}

// Kill ends the server at once, as a crash would (SIGKILL). What it wrote stays.
func (s *Server) Kill() {
	if s.run != nil {
		s.run.Kill()
		s.run, s.frozen = nil, false
	}
}

// Restart kills the server and starts it again.
func (s *Server) Restart() error {
	s.Kill()
	return s.Start()
}

// Close ends the server for good. It may be called more than once.
func (s *Server) Close() { s.Kill() }

// Freeze stops the server (SIGSTOP): connections stay open and new ones are taken
// by the kernel, but nothing answers. It returns once all of it stands.
func (s *Server) Freeze() error {
	s.frozen = true
	return s.signal("freeze", (*Process).Freeze)
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() error {
	s.frozen = false
	return s.signal("resume", (*Process).Thaw)
}

func (s *Server) signal(what string, send func(*Process) error) error {
	if s.run == nil {
		return fmt.Errorf("cannot %s %s on port %d: it does not run", what, s.kind.name, s.port)
	}
	if err := send(s.run.Process); err != nil {
		return fmt.Errorf("cannot %s %s on port %d: %w", what, s.kind.name, s.port, err)
	}
	return nil
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

// Wipe removes the data of a server that does not run, as a container without a
// volume does; what a first start needs is there again.
func (s *Server) Wipe() error {
	if s.run != nil {
		return fmt.Errorf("%s on port %d runs", s.kind.name, s.port)
	}
	if err := os.RemoveAll(s.Data()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Data(), 0o700); err != nil {
		return err
	}
	if s.kind.prepare != nil {
		return s.kind.prepare(s)
	}
	return nil
}

// Backup copies the server's data as they are at this moment, and gives the copy's
// name for PutBack. A running server is frozen meanwhile, so that the copy is what
// a power failure would have left.
func (s *Server) Backup() (string, error) {
	if s.run != nil && !s.frozen {
		if err := s.Freeze(); err != nil {
			return "", err
		}
		defer func() { _ = s.Thaw() }()
	}
	s.copies++
	to := filepath.Join(s.dir, fmt.Sprintf("backup-%d", s.copies))
	return to, copyTree(s.Data(), to)
}

// PutBack replaces the data of a server that does not run by a copy.
func (s *Server) PutBack(backup string) error {
	if s.run != nil {
		return fmt.Errorf("%s on port %d runs", s.kind.name, s.port)
	}
	if err := os.RemoveAll(s.Data()); err != nil {
		return err
	}
	return copyTree(backup, s.Data())
}

// copyTree copies files and directories, and nothing else: a server's socket is
// no data.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeSparse(target, content)
	})
}

// writeSparse leaves out what is zero: most of a database's logs and tablespaces
// is.
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

// awaitText is the readiness of servers that say so. Their own word is waited for
// rather than an answer on the port, which may be another's.
func awaitText(text string) func(context.Context, *Server, *process) error {
	return func(ctx context.Context, _ *Server, run *process) error {
		switch {
		case run.waitFor(ctx, text):
			return nil
		case !run.alive():
			return errGone
		}
		return ctx.Err()
	}
}

// errGone says that the server ended by itself.
var errGone = errors.New("the server has ended")
