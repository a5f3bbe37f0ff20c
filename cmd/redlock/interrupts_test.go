//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A terminal that is closed, and Ctrl-\, are no worse than Ctrl-C: what was begun is
// cleaned up, and what was found is shown.
func TestHangUpIsAnInterrupt(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGQUIT, unix.SIGTERM, unix.SIGINT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				args       []string
				begun, end string
			}{
				{[]string{"demo", "--duration", "1m"}, "workers, one key", "stopped after"},
				{[]string{"sim", "swarm", "--for", "10m"}, " seeds, ", "no promise was broken"},
			} {
				p := start(t, nil, c.args...)
				all := func() string { return p.stdout.String() + p.stderr.String() }
				p.eventually("not begun", func() bool { return strings.Contains(all(), c.begun) })
				require.NoError(t, p.cmd.Process.Signal(sig))
				assert.Equal(t, exitSignal+int(sig), p.status(), "%v", c.args)
				assert.Contains(t, all(), c.end, "%v", c.args)
			}
		})
	}
}

// A soak ends its faults at the first hang-up, and everything at the second.
func TestInterruptedTwice(t *testing.T) {
	var out output
	all, enough, stop := interruptedTwice(t.Context(), &out)
	defer stop()
	require.NoError(t, unix.Kill(unix.Getpid(), unix.SIGHUP))
	<-enough.Done()
	require.NoError(t, all.Err())
	assert.Equal(t, exitSignal+int(unix.SIGHUP), statusOf(interrupted(enough, "cut short")))
	assert.NoError(t, interrupted(all, "cut short"))
	require.NoError(t, unix.Kill(unix.Getpid(), unix.SIGHUP))
	<-all.Done()
	assert.Equal(t, exitSignal+int(unix.SIGHUP), statusOf(interrupted(all, "ended")))
}
