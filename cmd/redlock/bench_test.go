package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/quorumbench"
)

func TestBench(t *testing.T) {
	memory(t, "a", "b", "c")
	page := filepath.Join(t.TempDir(), "bench.html")
	status, out, errs := here(t, "bench", "--for", "1m", "--count", "200", "--concurrency", "4", "--html", page,
		"--ttl", "5s", "--prefix", "my keys")
	require.Equal(t, 0, status, errs)
	assert.Empty(t, errs, "nothing is drawn where there is no terminal")
	assert.Regexp(t, `^200 locks in .* on 3 nodes with 4 workers and 4 keys`, out)
	for _, want := range []string{"2 of 3 nodes granted", "decides", "Lock took", "The node timeout of 250 ms", "Nothing is left locked."} {
		assert.Contains(t, out, want)
	}
	written, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(written), "redlock bench --for 1m0s --concurrency 4 --keys 4 --count 200 "+
		"--ttl 5s --max-ttl 10s --node-timeout 250ms --prefix &#39;my keys&#39;")
	assert.NotContains(t, string(written), "mem://")

	status, out, _ = here(t, "bench", "--count", "20", "--json")
	require.Equal(t, 0, status)
	var report struct {
		Locks int
		Lock  struct {
			P99 float64 `json:"p99_ms"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, 20, report.Locks)
	assert.Positive(t, report.Lock.P99)
}

func TestBenchRefuses(t *testing.T) {
	memory(t, "a")
	for _, args := range [][]string{
		{"--for", "0s"}, {"--concurrency", "0"}, {"--keys", "20000"}, {"--count", "-1"}, {"--prefix", ""}, {"key"},
	} {
		status, out, errs := here(t, append([]string{"bench"}, args...)...)
		assert.Equal(t, exitUsage, status, "%v", args)
		assert.Empty(t, out)
		assert.Contains(t, errs, "redlock bench --help")
	}
}

func TestBenchWithoutAQuorum(t *testing.T) {
	status, _, errs := here(t, "bench", "-n", "redis://127.0.0.1:1")
	assert.Equal(t, exitNoQuorum, status)
	assert.Contains(t, errs, "no quorum")
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"jobs:a-1": "jobs:a-1", "": "''", "a b": "'a b'", "it's $x": `'it'\''s $x'`} {
		assert.Equal(t, want, shellWord(word))
	}
}

// A script learns from the status that locks failed, or may be left somewhere.
func TestBenchVerdict(t *testing.T) {
	for want, report := range map[int]*quorumbench.Report{
		0:            {Locks: 10},
		exitNoQuorum: {Locks: 10, Failed: 1},
		exitInternal: {Locks: 10, Failed: 1, LeftLocked: 1, LeftUnknown: 1},
	} {
		assert.Equal(t, want, statusOf(benchVerdict(t.Context(), report)))
	}
	assert.Equal(t, exitNoQuorum, statusOf(benchVerdict(t.Context(), &quorumbench.Report{LeftUnknown: 1})))
}

// A node that is down is told of, and by the status.
func TestBenchWithADeadNode(t *testing.T) {
	memory(t, "a", "b")
	t.Setenv(nodesVar, os.Getenv(nodesVar)+" redis://127.0.0.1:1")
	status, out, errs := here(t, "bench", "--count", "20")
	assert.Equal(t, exitNoQuorum, status, errs)
	assert.Contains(t, out, "could not be looked at")
}

// Ctrl-C ends the measuring, not the cleaning up.
func TestBenchInterrupted(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), "bench", "--for", "10m", "--concurrency", "16")
	client := redis.NewClient(&redis.Options{Addr: c[0].Addr()})
	defer client.Close()
	p.eventually("nothing was locked", func() bool {
		n, err := client.DBSize(context.Background()).Result()
		return err == nil && n > 4 // more than while it warms up
	})
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	assert.Equal(t, exitSignal+2, p.status())
	assert.Contains(t, p.stdout.String(), "; interrupted.")
	assert.Contains(t, p.stdout.String(), "Nothing is left locked.")
	assert.Empty(t, c.locks(t))
}
