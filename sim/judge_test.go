package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Each invariant is broken by some story without a defence, or else by a machine or
// a run that is made to break it here: no checker is asleep.
func TestEveryInvariantCanBreak(t *testing.T) {
	broken := map[Invariant]string{}
	note := func(r Report, where string) {
		for _, v := range r.Violations {
			broken[v.Invariant] = where
		}
	}
	for _, s := range Scenarios() {
		for _, twin := range s.Twins {
			cfg := s.Config
			cfg.Without |= twin.Without
			note(Run(cfg), s.Name)
		}
	}

	// A machine that wins once it is over, and ends before it is.
	w := newWorldOf(Config{Seed: 1})
	w.begin(&w.clients[0])
	a := w.clients[0].current
	a.over = true
	w.act(a, &protocol.Output{Kind: protocol.Won, Token: 1, Until: w.local(a.client).Add(time.Second)})
	note(w.report(), "a win that is late")
	require.Contains(t, broken, Manners)
	delete(broken, Manners)
	w = newWorldOf(Config{Seed: 1})
	w.begin(&w.clients[0])
	w.act(w.clients[0].current, &protocol.Output{Kind: protocol.Finished})
	note(w.report(), "an end before the end")

	r := Run(Config{Seed: 1, Jitter: time.Millisecond, HealAt: time.Second})
	r.compare(Run(Config{Seed: 2, Jitter: time.Millisecond, HealAt: time.Second}))
	note(r, "runs that differ")

	for i := Exclusion; i <= Determinism; i++ {
		require.Contains(t, broken, i)
		t.Logf("%v: %s", i, broken[i])
	}
}

// After the end of all faults everybody gets the lock, whatever kinds of nodes vote;
// and a client that nobody answers any more is seen not to.
func TestLivenessAfterHealing(t *testing.T) {
	for kind := range kinds {
		cfg := Config{Seed: 1, Nodes: 5, Clients: 4, Kinds: []Kind{Kind(kind)}, TTL: 2 * time.Second, HealAt: 5 * time.Second,
			LossPPM: 300_000, Faults: faults(t, "at 1s pause n* for 1h", "at 2s cut c*-n* for 1h", "at 3s crash n2 for 1h")}
		r := Run(cfg)
		require.Empty(t, r.Violations)
		require.Greater(t, r.Stats.Time, 5*time.Second)
		for i := range r.world.clients {
			require.NotZero(t, r.world.clients[i].wins, "%v: c%d after healing", Kind(kind), i+1)
		}
	}
	w := newWorldOf(Config{Seed: 1, TTL: time.Second, HealAt: time.Second})
	w.links[w.linkIndex(toNode, 0, 0)].cut++ // no fault of the schedule's: healing does not know of it
	w.links[w.linkIndex(toNode, 0, 1)].cut++
	w.run()
	r := w.report()
	require.NotEmpty(t, r.Violations)
	require.Equal(t, Liveness, r.Violations[0].Invariant)
}
