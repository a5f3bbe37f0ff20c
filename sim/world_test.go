package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func faults(t *testing.T, lines ...string) []Fault {
	t.Helper()
	var out []Fault
	for _, line := range lines {
		f, err := ParseFault(line)
		require.NoError(t, err)
		out = append(out, f)
	}
	return out
}

func TestAHealthyWorldIsSafe(t *testing.T) {
	r := Run(Config{Seed: 1, Clients: 3, Jitter: time.Millisecond, RatesPPM: 5000, HealAt: 20 * time.Second,
		Work: Work{Think: 20 * time.Millisecond, Hold: 10 * time.Millisecond, WriteEvery: 3 * time.Millisecond}})
	require.Equal(t, Safe, r.Verdict, "%v", r.Violations)
	require.Greater(t, r.Stats.Acquired, 300)
	require.Greater(t, r.Stats.Accepted, 500)
	require.Zero(t, r.Stats.LostUpdates)
}

// Kleppmann's first case: the holder stops after it looked at its lease.
func TestAPausedHolderNeedsTheToken(t *testing.T) {
	r := Run(Config{Seed: 1, Record: true, HealAt: time.Minute,
		Plans: []Work{
			{Hold: 30 * time.Second, WriteEvery: time.Second, Times: 1, Exact: true},
			{Start: time.Second, Hold: 30 * time.Second, WriteEvery: time.Second, Times: 1, Exact: true},
		},
		Faults: faults(t, "on c1 checks#2 pause c1 for 15s"),
	})
	for _, n := range r.Story() {
		t.Log(time.Duration(n.At), n.Who, n.Text)
	}
	require.Equal(t, UnsafeUnfenced, r.Verdict, "%v", r.Violations)
	require.Equal(t, 1, r.Stats.Rejected)
	require.Equal(t, 1, r.Stats.LostUpdates)
}

func TestFaultsPrintAndParse(t *testing.T) {
	for _, line := range []string{
		"at 1.5s pause c1 for 3s", "on c1 takes#2 after 5ms crash n1 losing all for 100ms", "on c2 wins cut c1-n* for 1s",
		"at 0s drift n2 by 20000ppm", "at 1s jump n3 by -10s", "at 0s lose c1->n2#4", "at 0s repeat n2->c1#4 by 3ms",
		"on c1 takes aim c2 at expiry of c1 by 10µs", "at 0s aim c* at age of n2 by -1ms", "on c* starts evict n*",
		"at 2s failover n1 losing 300ms", "at 1s slow c1->store by 1m30s", "at 1s hold n1->c* for 1s", "at 1s nudge c2",
		"on c1 checks#3 clone c1 as c3 for 20s", "at 2s move c2 to n1,n3,n64",
	} {
		f, err := ParseFault(line)
		require.NoError(t, err)
		require.Equal(t, line, f.String())
	}
	for _, line := range []string{"", "at", "at 1s", "at 1s explode c1", "at 1s pause d1", "on c1 sings pause c1", "at 1s pause c1 for ever", "at 1s pause c0",
		"at 1s move c1 to n65", "at 1s move c1 to n1,c2", "at 1s clone c1 as n2"} {
		_, err := ParseFault(line)
		require.Error(t, err, line)
	}
}

// Equal runs are equal, event for event.
func TestEqualConfigsGiveEqualRuns(t *testing.T) {
	cfg := Config{Seed: 42, Nodes: 5, Clients: 3, Jitter: 2 * time.Millisecond, LossPPM: 20_000, DuplicatesPPM: 20_000,
		RatesPPM: 5000, HealAt: 10 * time.Second, Work: Work{Think: 10 * time.Millisecond, Hold: 5 * time.Millisecond, WriteEvery: time.Millisecond}}
	a, b := Run(cfg), Run(cfg)
	require.Equal(t, a.Hash, b.Hash)
	require.Equal(t, a.Stats, b.Stats)
	cfg.Seed++
	require.NotEqual(t, a.Hash, Run(cfg).Hash)
}
