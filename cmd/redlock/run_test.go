package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// held is a command that tells that it runs and ends with the status it reads.
var held = []string{"sh", "-c", "echo held; read status; exit $status"}

func runArguments(flags []string, command ...string) []string {
	return append(append(append([]string{"run"}, flags...), "k", "--"), command...)
}

func TestRunHoldsTheLock(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments(nil, held...)...)
	p.prints("held")
	c.locked(t)

	other := start(t, c.nodes(), "run", "--try", "k", "--", "echo", "ran")
	assert.Equal(t, exitNotAcquired, other.status())
	assert.Empty(t, other.stdout.String())
	assert.Contains(t, other.stderr.String(), "held by ")

	p.types("0\n")
	assert.Equal(t, 0, p.status())
	assert.Empty(t, p.stderr.String())
	assert.Empty(t, c.locks(t))
	other = start(t, c.nodes(), "run", "--try", "k", "--", "echo", "ran")
	assert.Equal(t, 0, other.status())
	assert.Equal(t, "ran\n", other.stdout.String())
	assert.Empty(t, c.locks(t))
}

func TestRunWaitsItsTurn(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments(nil, held...)...)
	p.prints("held")
	waiting := start(t, c.nodes(), "run", "-v", "k", "--", "echo", "ran")
	waiting.says(`waiting for "k": held by `)
	assert.Empty(t, waiting.stdout.String())
	p.types("0\n")
	assert.Equal(t, 0, waiting.status())
	assert.Equal(t, "ran\n", waiting.stdout.String())
	assert.Equal(t, 1, strings.Count(waiting.stderr.String(), "waiting for"), "said once")
}

func TestRunGivesUpWaiting(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments(nil, held...)...)
	p.prints("held")
	waiting := start(t, c.nodes(), "run", "--wait", "300ms", "k", "--", "echo", "ran")
	assert.Equal(t, exitNotAcquired, waiting.status())
	assert.Empty(t, waiting.stdout.String())
	assert.Contains(t, waiting.stderr.String(), "gave up waiting")
	p.types("0\n")
	assert.Equal(t, 0, p.status())
	assert.Empty(t, c.locks(t))
}

func TestRunSurvivesADeadServer(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments([]string{"--ttl", "1s", "--node-timeout", "400ms"}, held...)...)
	p.prints("held")
	c[0].Kill()
	time.Sleep(4 * time.Second) // several TTLs
	assert.Len(t, c[1:].locks(t), 2, "renewed")
	p.types("7\n")
	ending := time.Now()
	assert.Equal(t, 7, p.status(), "stderr: %s", &p.stderr)
	assert.Less(t, time.Since(ending), 10*time.Second)
	assert.Empty(t, c[1:].locks(t))
}

// The work is done when the release fails, so that is a warning, in people's words.
func TestRunWarnsOfAnUnconfirmedRelease(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments([]string{"--ttl", "30s"}, held...)...)
	p.prints("held")
	c[0].Kill()
	c[1].Kill()
	p.types("0\n")
	assert.Equal(t, 0, p.status())
	assert.Contains(t, p.stderr.String(), "warning: not confirmed that the lock is released")
	assert.Contains(t, p.stderr.String(), "node "+c[0].Addr()+"/0 failed: ")
	assert.NotContains(t, p.stderr.String(), "need 2")
}

func TestRunDoesNotWaitForAFrozenServer(t *testing.T) {
	c := startCluster(t, 3)
	c[0].Stop()
	begun := time.Now()
	p := start(t, c.nodes(), "run", "k", "--", "true")
	assert.Equal(t, 0, p.status(), "stderr: %s", &p.stderr)
	assert.Less(t, time.Since(begun), 10*time.Second)
	c[0].Cont()
	assert.True(t, until(func() bool { return len(c.locks(t)) == 0 }))
}

func TestRunRefusesWithoutAQuorum(t *testing.T) {
	c := startCluster(t, 3)
	c[0].Kill()
	c[1].Kill()
	for _, flag := range []string{"--wait=1h", "--try"} {
		p := start(t, c.nodes(), "run", flag, "k", "--", "echo", "ran")
		assert.Equal(t, exitNoQuorum, p.status())
		assert.Empty(t, p.stdout.String())
		assert.Contains(t, p.stderr.String(), `no quorum for "k", it takes 2 of 3 nodes`)
		assert.Contains(t, p.stderr.String(), c[0].Addr())
	}
	assert.Empty(t, c[2:].locks(t))
}

func TestRunDoesNotCountYoungServers(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodesWith(""), "run", "--try", "--max-ttl", "1h", "k", "--", "echo", "ran")
	assert.Equal(t, exitNoQuorum, p.status())
	assert.Contains(t, p.stderr.String(), "votes in")
	assert.Empty(t, c.locks(t))
}

func TestRunWaitsForYoungServers(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodesWith(""), "run", "-v", "--ttl", "1s", "--node-timeout", "400ms", "--max-ttl", "4s", "k", "--", "echo", "ran")
	assert.Equal(t, 0, p.status())
	assert.Equal(t, "ran\n", p.stdout.String())
	assert.Contains(t, p.stderr.String(), "votes in")
}

func TestRunPassesTheStatusOn(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	garbage := filepath.Join(t.TempDir(), "garbage")
	require.NoError(t, os.WriteFile(garbage, []byte("\x01\x02"), 0o700))
	nodes := []string{nodesVar + "=mem://one"}
	for _, c := range []struct {
		command []string
		status  int
	}{
		{[]string{"true"}, 0},
		{[]string{"sh", "-c", "exit 3"}, 3},
		{[]string{"sh", "-c", "exit 255"}, 255},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
		{[]string{plain}, exitCannotRun},
		{[]string{garbage}, exitCannotRun},
		{[]string{"/"}, exitCannotRun},
		{[]string{"no-such-command"}, exitNotFound},
		{[]string{"/no/such/command"}, exitNotFound},
	} {
		p := start(t, nodes, runArguments(nil, c.command...)...)
		assert.Equal(t, c.status, p.status(), "%v: %s", c.command, &p.stderr)
	}
}

func TestRunLooksTheCommandUpFirst(t *testing.T) {
	// No server is there to lock on, so the status tells what was tried first.
	p := start(t, []string{nodesVar + "=redis://127.0.0.1:1"}, "run", "k", "--", "no-such-command")
	assert.Equal(t, exitNotFound, p.status())
	assert.Contains(t, p.stderr.String(), "no-such-command: command not found")
}

func TestRunTellsTheCommandOfTheLock(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), runArguments(nil, "sh", "-c",
		`echo "$REDLOCK_KEY $REDLOCK_TOKEN $REDLOCK_OWNER done"; read status`)...)
	p.prints(" done")
	fields := strings.Fields(p.stdout.String())
	require.Len(t, fields, 4)
	assert.Equal(t, "k", fields[0])
	assert.Regexp(t, `^[1-9][0-9]+$`, fields[1])
	assert.Regexp(t, `^[0-9a-f]{32}$`, fields[2])

	look := start(t, c.nodes(), "inspect", "k")
	assert.Equal(t, 0, look.status())
	assert.Contains(t, look.stdout.String(), "held by "+fields[2]+" on 3 of 3 nodes, ")
}

func TestRunPassesStdinAndStderrOn(t *testing.T) {
	p := start(t, []string{nodesVar + "=mem://one"}, runArguments(nil, "sh", "-c", "cat; echo oops >&2")...)
	p.types("to be read\n")
	p.stdin.Close()
	assert.Equal(t, 0, p.status())
	assert.Equal(t, "to be read\n", p.stdout.String())
	assert.Equal(t, "oops\n", p.stderr.String())
}

func TestRunMaxHold(t *testing.T) {
	p := start(t, []string{nodesVar + "=mem://one"}, "run", "--max-hold", "200ms", "--ttl", "100ms", "k", "--", "sleep", "600")
	assert.Equal(t, exitLost, p.status())
	assert.Contains(t, p.stderr.String(), "lease lost")
}
