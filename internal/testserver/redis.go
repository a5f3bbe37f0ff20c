package testserver

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	startTimeout = 20 * time.Second // generous: a start takes 15 ms on an idle machine
	startTries   = 5
)

// Redis is a redis-server of a test. It is not safe for concurrent use.
type Redis struct {
	Port int

	tb   TB
	path string
	dir  string
	env  []string
	args []string
	run  *process // nil while it is not running
}

// StartRedis starts a redis-server that keeps nothing on disk. Arguments are
// added to its command line and win over the defaults, for instance
// "--appendonly", "yes" or "--requirepass", "secret". It returns once the server
// takes connections, and the server ends with the test at the latest.
func StartRedis(tb TB, args ...string) *Redis {
	tb.Helper()
	return startRedis(tb, nil, args)
}

func startRedis(tb TB, env, args []string) *Redis {
	tb.Helper()
	r := &Redis{
		tb:   tb,
		path: program(tb, "redis-server", "apt-get install redis-server, or brew install redis"),
		dir:  tb.TempDir(),
		env:  env,
		args: args,
	}
	tb.Cleanup(r.Close)
	for range startTries {
		r.Port = freePort(tb)
		log, ok := r.start()
		if ok {
			return r
		}
		if !strings.Contains(log, "Address already in use") {
			tb.Fatalf("redis-server did not start:\n%s", log)
		}
	}
	tb.Fatalf("redis-server found its port taken %d times in a row", startTries)
	return nil
}

// Addr is the server's address, host:port.
func (r *Redis) Addr() string { return localAddr(r.Port) }

// Log is what the server has printed since its last start.
func (r *Redis) Log() string {
	if r.run == nil {
		return ""
	}
	return r.run.out.String()
}

// Start starts the server again after a Kill, on the same port and directory.
func (r *Redis) Start() {
	r.tb.Helper()
	if r.run != nil {
		r.tb.Fatalf("redis-server on port %d runs already", r.Port)
	}
	if log, ok := r.start(); !ok {
		r.tb.Fatalf("redis-server did not start again on port %d:\n%s", r.Port, log)
	}
}

// Kill ends the server at once, as a crash would (SIGKILL).
func (r *Redis) Kill() {
	if r.run != nil {
		r.run.kill()
		r.run = nil
	}
}

// Restart kills the server and starts it again.
func (r *Redis) Restart() {
	r.tb.Helper()
	r.Kill()
	r.Start()
}

// Stop freezes the server (SIGSTOP): connections stay open and new ones are
// taken by the kernel, but nothing answers.
func (r *Redis) Stop() {
	r.tb.Helper()
	r.signal("freeze", freeze)
}

// Cont lets a frozen server go on.
func (r *Redis) Cont() {
	r.tb.Helper()
	r.signal("resume", resume)
}

// Close ends the server for good. It may be called more than once.
func (r *Redis) Close() { r.Kill() }

// start runs the server and waits until it is ready. It waits for the server's
// own word rather than for an answer on the port, which may be another's.
func (r *Redis) start() (log string, ok bool) {
	args := append([]string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(r.Port),
		"--dir", r.dir,
		"--save", "",
		"--appendonly", "no",
		"--loglevel", "notice",
	}, r.args...)
	run, err := startProcessIn(r.env, r.path, args...)
	if err != nil {
		return err.Error(), false
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if !run.waitFor(ctx, "Ready to accept connections") {
		run.kill()
		return run.out.String(), false
	}
	r.run = run
	return "", true
}

func (r *Redis) signal(what string, send func(*os.Process) error) {
	r.tb.Helper()
	if r.run == nil {
		r.tb.Fatalf("cannot %s redis-server on port %d: it does not run", what, r.Port)
	}
	if err := send(r.run.cmd.Process); err != nil {
		r.tb.Fatalf("cannot %s redis-server on port %d: %v", what, r.Port, err)
	}
}
