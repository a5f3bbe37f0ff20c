package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock/internal/testserver"
)

// patience is how long a test waits for what must happen. Nothing is asserted to
// happen sooner, unless a test is about that, so a slow machine only makes tests
// slow.
const patience = 30 * time.Second

// beProgram makes the test's executable be redlock itself. So the program under
// test has what the test was built with, such as the race detector.
const beProgram = "REDLOCK_TEST_BE_REDLOCK"

func TestMain(m *testing.M) {
	if os.Getenv(beProgram) == "1" {
		os.Unsetenv(beProgram)
		main()
	}
	goleak.VerifyTestMain(m)
}

// output collects what a program prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// program is one run of redlock.
type program struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr output
	ended          chan struct{}
}

// environment is this process's without settings of redlock, but for those given.
func environment(t *testing.T, extra ...string) []string {
	env := []string{beProgram + "=1", "GORACE=atexit_sleep_ms=0", "XDG_CONFIG_HOME=" + t.TempDir()}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "REDLOCK_") && !strings.HasPrefix(v, "XDG_CONFIG_HOME=") {
			env = append(env, v)
		}
	}
	return append(env, extra...)
}

// start runs redlock with a pipe as stdin. It is gone when the test ends.
func start(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := prepare(t, env, args...)
	p.start()
	return p
}

func prepare(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &program{t: t, cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	p.cmd.Env = environment(t, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Second // a grandchild may keep the pipes
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	return p
}

func (p *program) start() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state tells
	}()
	p.t.Cleanup(func() {
		p.stdin.Close()
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
}

// status waits for the end of the program.
func (p *program) status() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("still running: %v\nstdout: %s\nstderr: %s", p.cmd.Args, &p.stdout, &p.stderr)
		return -1
	}
}

// prints waits until the program has printed something to stdout.
func (p *program) prints(text string) {
	p.t.Helper()
	p.eventually("no "+text+" on stdout", func() bool { return strings.Contains(p.stdout.String(), text) })
}

func (p *program) says(text string) {
	p.t.Helper()
	p.eventually("no "+text+" on stderr", func() bool { return strings.Contains(p.stderr.String(), text) })
}

func (p *program) eventually(failure string, done func() bool) {
	p.t.Helper()
	if !until(done) {
		p.t.Fatalf("%s\nstdout: %s\nstderr: %s", failure, &p.stdout, &p.stderr)
	}
}

func (p *program) types(text string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, text)
	require.NoError(p.t, err)
}

// until polls for a condition.
func until(done func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// cluster is the servers of a test.
type cluster []*testserver.Redis

func startCluster(t *testing.T, n int, args ...string) cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts servers")
	}
	c := make(cluster, n)
	for i := range c {
		c[i] = testserver.StartRedis(t, args...)
	}
	return c
}

// nodes is the environment that names the servers. They are declared durable, or
// they would be young for longer than a test lasts.
func (c cluster) nodes() []string { return c.nodesWith("?durable=true") }

func (c cluster) nodesWith(query string) []string {
	urls := make([]string, len(c))
	for i, s := range c {
		urls[i] = "redis://" + s.Addr() + query
	}
	return []string{nodesVar + "=" + strings.Join(urls, " ")}
}

// locks lists the locks that stand on those servers that run: all keys but the
// counters and the tombstones, which are to stay.
func (c cluster) locks(t *testing.T) []string {
	t.Helper()
	var locks []string
	for _, s := range c {
		client := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, DialerRetries: 1})
		keys, err := client.Keys(context.Background(), "*").Result()
		require.NoError(t, errors.Join(err, client.Close()))
		for _, k := range keys {
			if !strings.HasSuffix(k, ":fences") && !strings.Contains(k, ":released:") {
				locks = append(locks, k)
			}
		}
	}
	return locks
}

// locked waits until one key is locked on every server: its holder works as soon as a
// majority has granted it.
func (c cluster) locked(t *testing.T) {
	t.Helper()
	require.True(t, until(func() bool { return len(c.locks(t)) == len(c) }))
}
