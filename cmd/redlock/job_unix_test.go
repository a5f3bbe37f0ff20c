//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const idle = "while :; do sleep 0.05; done"

// alive says whether a process runs; a zombie does not.
func alive(pid int) bool {
	if unix.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return runtime.GOOS != "linux"
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// pid is the number that a command printed before a word.
func pid(t *testing.T, p *program, word string) int {
	t.Helper()
	p.prints(word)
	fields := strings.Fields(p.stdout.String())
	for i, f := range fields {
		if f == word {
			n, err := strconv.Atoi(fields[i-1])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("no number before %s: %s", word, &p.stdout)
	return 0
}

// A majority hangs for longer than the lease is valid: the command must not work
// on, since others may hold the lock once the servers go on.
func TestRunEndsTheCommandWhenTheLockIsLost(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments([]string{"--ttl", "1s", "--node-timeout", "400ms", "--grace", "1h"},
		"sh", "-c", `trap "echo ended; exit 0" TERM; echo held; `+idle)...)
	p.prints("held")
	c[0].Stop()
	c[1].Stop()
	assert.Equal(t, exitLost, p.status())
	assert.Equal(t, "held\nended\n", p.stdout.String())
	assert.Contains(t, p.stderr.String(), "lease lost")
	c[0].Cont()
	c[1].Cont()
	assert.True(t, until(func() bool { return len(c.locks(t)) == 0 }))
}

// Neither a command that does not listen, nor what it started, nor being stopped
// saves it.
func TestRunKillsTheWholeGroupAfterTheGrace(t *testing.T) {
	for name, script := range map[string]string{
		"deaf":           `trap "" TERM; ` + idle + ` & echo $! child; ` + idle,
		"deaf child":     `(trap "" TERM; ` + idle + `) & echo $! child; ` + idle,
		"stopped itself": idle + ` & echo $! child; kill -STOP $$; ` + idle,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, []string{nodesVar + "=mem://one"}, "run", "--max-hold", "1s", "--ttl", "1s", "--grace", "300ms",
				"k", "--", "sh", "-c", script)
			child := pid(t, p, "child")
			assert.Equal(t, exitLost, p.status())
			assert.True(t, until(func() bool { return !alive(child) }))
		})
	}
}

func TestRunForwardsSignals(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2} {
		name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, []string{nodesVar + "=mem://one"}, runArguments(nil,
				"sh", "-c", `trap "echo got; exit 5" `+name+`; echo held; `+idle)...)
			p.prints("held")
			require.NoError(t, p.cmd.Process.Signal(sig))
			assert.Equal(t, 5, p.status())
			assert.Equal(t, "held\ngot\n", p.stdout.String())
		})
	}
}

func TestRunEndsBySignalOfTheCommand(t *testing.T) {
	p := start(t, []string{nodesVar + "=mem://one"}, runArguments(nil, "sh", "-c", "echo held; "+idle)...)
	p.prints("held")
	require.NoError(t, p.cmd.Process.Signal(unix.SIGTERM))
	assert.Equal(t, exitSignal+int(unix.SIGTERM), p.status())
}

func TestRunSignalEndsTheWait(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments(nil, held...)...)
	p.prints("held")
	c.locked(t)
	locks := c.locks(t)
	waiting := start(t, c.nodes(), "run", "-v", "k", "--", "echo", "ran")
	waiting.says("waiting for")
	require.NoError(t, waiting.cmd.Process.Signal(unix.SIGTERM))
	assert.Equal(t, exitSignal+int(unix.SIGTERM), waiting.status())
	assert.Empty(t, waiting.stdout.String())
	assert.Equal(t, locks, c.locks(t), "the holder still holds, and nobody else does")
	p.types("0\n")
	assert.Equal(t, 0, p.status())
	assert.Empty(t, c.locks(t))
}

// A reader of stderr that went away must not end redlock before the command.
func TestRunOutlivesTheReaderOfItsStderr(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	p := prepare(t, []string{nodesVar + "=mem://one"}, "run", "-v", "--ttl", "300ms", "k", "--",
		"sh", "-c", "echo held; sleep 2; exit 4")
	p.cmd.Stderr = w
	p.start()
	require.NoError(t, w.Close())
	assert.Equal(t, 4, p.status())
}

func TestRunIsKilledWithItsCommand(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux kills a child with its parent")
	}
	p := start(t, []string{nodesVar + "=mem://one"}, runArguments(nil, "sh", "-c", "echo $$ held; "+idle)...)
	child := pid(t, p, "held")
	time.Sleep(200 * time.Millisecond) // the runtime may end threads meanwhile
	assert.True(t, alive(child))
	require.NoError(t, p.cmd.Process.Kill())
	assert.True(t, until(func() bool { return !alive(child) }))
}
