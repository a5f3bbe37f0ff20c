package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/sim"
	"github.com/quorumlock/redlock/sim/chaos"
)

// short are the tellings of the short run: each quorum, each kind of fault that
// costs no more than seconds, and each guard left out.
var short = []struct{ story, quorum, without string }{
	{"rolling-restart", "mixed", ""},
	{"sessions-lost", "session", ""},
	{"connections-reset", "zk", ""},
	{"kleppmann-gc-after-win", "mysql", ""},
	{"everysec-crash", "redis", ""},
	{"everysec-crash", "redis", "restart-guard"},
	{"clock-jump-seen", "redis", ""},
	{"clock-jump-seen", "redis", "clock-guard"},
	{"late-release", "redis", "release-by-owner"},
	{"late-replies", "redis", "count-from-sending"},
}

// Stories end on real servers as they are told; and where a guard is left out, or
// the lock is a careless one, the checkers see it. redlock chaos run --all tells all of
// them.
func TestStoriesOnRealServers(t *testing.T) {
	c, self := cluster(t)
	all := chaos.Tellings(chaos.Stories())
	for _, s := range short {
		t.Run(strings.TrimSpace(s.story+" on "+s.quorum+" "+s.without), func(t *testing.T) {
			for i := range all {
				telling := &all[i]
				if telling.Story.Name != s.story || telling.Quorum != s.quorum || telling.Without.String() != s.without {
					continue
				}
				if telling.NeedsClocks() && c.Clocks() != nil {
					need(t, c.Clocks())
				}
				told, err := c.Tell(t.Context(), self, telling, 0)
				need(t, err)
				assert.Empty(t, told.Wrong, "%s\n%s", told.Headline(), strings.Join(told.Lines(), "\n"))
				return
			}
			t.Fatal("there is no such telling")
		})
	}
}

// Under random faults no promise breaks. The record of it can be judged again, to
// the same verdict.
func TestSoak(t *testing.T) {
	c, self := cluster(t)
	r, err := c.Soak(t.Context(), self, chaos.Soak{For: 15 * time.Second, Seed: 5})
	need(t, err)
	assert.Empty(t, r.Check(), "%s", strings.Join(r.Lines(), "\n"))
	assert.Positive(t, r.Report.Stats.Acquired)
	assert.NotEmpty(t, r.Faults)
	assert.NotEmpty(t, r.Record.Samples)

	path, err := r.Record.Store(t.TempDir())
	require.NoError(t, err)
	stored, err := os.Open(path)
	require.NoError(t, err)
	defer stored.Close()
	again, err := chaos.Read(stored)
	require.NoError(t, err)
	second := again.Judge()
	assert.Equal(t, r.Lines(), second.Lines())
	assert.Equal(t, r.Report.Verdict, second.Report.Verdict)
	var page bytes.Buffer
	require.NoError(t, second.WriteHTML(&page))
	assert.Contains(t, page.String(), "<polyline")
}

// A soak that is cut short is judged by what happened until then.
func TestASoakCutShort(t *testing.T) {
	c, self := cluster(t)
	enough := make(chan struct{})
	time.AfterFunc(8*time.Second, func() { close(enough) })
	r, err := c.Soak(t.Context(), self, chaos.Soak{For: time.Hour, Seed: 2, Quorum: "redis", Nodes: 3, Enough: enough})
	need(t, err)
	assert.Empty(t, r.Check(), "%s", strings.Join(r.Lines(), "\n"))
	assert.Positive(t, r.Report.Stats.Acquired)
	assert.Contains(t, r.Lines()[0], "cut short: 1h0m0s were planned")
}

// A run that is broken off leaves nothing running.
func TestAnInterruptEndsEverything(t *testing.T) {
	c, self := cluster(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(6*time.Second, cancel)
	_, err := c.Soak(ctx, self, chaos.Soak{For: time.Minute, Seed: 1, Quorum: "redis", Nodes: 3})
	if !errors.Is(err, context.Canceled) {
		need(t, err)
	}
	require.ErrorIs(t, err, context.Canceled)
	c.Close()
	assert.Empty(t, children(t))
}

// children are the processes of this one, where the system shows them.
func children(t *testing.T) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	var out []string
	for _, file := range stats {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The parent is the second after the name, which is in parentheses.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			out = append(out, string(stat[:bytes.LastIndexByte(stat, ')')+1]))
		}
	}
	return out
}

// Equal seeds plan equal faults.
func TestSeedsRepeatTheSchedule(t *testing.T) {
	plan := func(seed uint64) []string { return chaos.DrawFaults(chaos.Soak{For: time.Hour, Seed: seed}, true) }
	assert.Equal(t, plan(1), plan(1))
	assert.NotEqual(t, plan(1), plan(2))
	verbs := map[string]bool{}
	for _, line := range plan(1) {
		f, err := sim.ParseFault(line)
		require.NoError(t, err)
		verbs[f.Verb.String()] = true
	}
	for _, verb := range []string{"pause", "crash", "jump", "drift", "cut", "hold", "slow", "shake", "reset", "full", "expire", "idle", "slice", "throttle"} {
		assert.True(t, verbs[verb], verb)
	}
}

func TestARecordThatIsNone(t *testing.T) {
	for _, text := range []string{"", "{}", "hello", `{"schema":1}`, `{"schema":2,"config":{}}`, `{"schema":1,"config":{}}` + "\n{"} {
		_, err := chaos.Read(strings.NewReader(text))
		require.Error(t, err, text)
	}
}
