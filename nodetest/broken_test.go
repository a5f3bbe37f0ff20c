package nodetest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/nodetest"
)

// breakageVariable tells the process under TestBroken which breakage to run.
const breakageVariable = "REDLOCK_NODETEST_BREAKAGE"

// TestBroken is not a test by itself: it fails in the processes that
// TestFindsBreakages starts.
func TestBroken(t *testing.T) {
	name := os.Getenv(breakageVariable)
	b, ok := breakages[name]
	if !ok {
		t.Skip("run by TestFindsBreakages")
	}
	clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	opts := []nodetest.Option{nodetest.Sleep(clock.Advance), nodetest.Restart(restart)}
	if name == noBreakage || name == contextBreakage {
		opts = append(opts, nodetest.Freeze(freeze), nodetest.Patience(200*time.Millisecond))
	}
	nodetest.Run(t, func(*testing.T) redlock.Node {
		n := &wrapped{Node: memnode.New(memnode.Options{Clock: clock}), clock: clock}
		b.apply(n)
		return n
	}, opts...)
}

// TestFindsBreakages holds the kit to its word: each broken node fails the cases
// that are about it, none else, and is told which rule it broke.
func TestFindsBreakages(t *testing.T) {
	names, texts := nodetest.Rules()
	for name, b := range breakages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, failed := runBroken(t, name)
			// Histories and waiting take all of the rules, so many a breakage shows there too.
			failed = slices.DeleteFunc(failed, func(f string) bool {
				return f == "concurrent/one_after_the_other" || strings.HasPrefix(f, "queue/") && !strings.Contains(b.found, "queue/")
			})
			if !assert.Equal(t, want(b.found, failed), failed) {
				t.Log(out)
			}
			for _, f := range failed {
				rule, _, _ := strings.Cut(f, "/")
				assert.Contains(t, out, fmt.Sprintf("%q", texts[slices.Index(names, rule)]))
			}
		})
	}
}

// want is what should have failed, given what did.
func want(found string, failed []string) []string {
	var want []string
	for _, name := range strings.Fields(found) {
		name, maybe := strings.CutSuffix(name, "?")
		if !maybe || slices.Contains(failed, name) {
			want = append(want, name)
		}
	}
	return want
}

var failedCase = regexp.MustCompile(`(?m)^\s*--- FAIL: TestBroken/(\S+/\S+) `)

// runBroken runs TestBroken in a process of its own and returns the cases that
// failed, in their order.
func runBroken(t *testing.T, name string) (output string, failed []string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestBroken$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), breakageVariable+"="+name)
	out, err := cmd.CombinedOutput()
	for _, m := range failedCase.FindAllStringSubmatch(string(out), -1) {
		failed = append(failed, m[1])
	}
	if len(failed) > 0 {
		assert.Error(t, err)
	}
	for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "no tests to run"} {
		require.False(t, strings.Contains(string(out), bad), "%s in the output of %s", bad, name)
	}
	return string(out), failed
}
