package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// The protocol that ships breaks no invariant, whatever the seed.
func TestSwarm(t *testing.T) {
	seeds := 1000
	if testing.Short() || raced {
		seeds = 150
	}
	s := Swarm(SwarmConfig{First: 1, Seeds: seeds, Workers: 2, Clock: redlock.SystemClock()})
	t.Log(s.String())
	require.False(t, s.Failed, "seed %d: %v", s.Seed, s.Report.Violations)
	require.NotZero(t, s.Twice)
}

// A swarm that nobody wants to see more of ends with what it has.
func TestSwarmEndsWhenItIsEnough(t *testing.T) {
	enough := make(chan struct{})
	told := func(s *SwarmReport) {
		if s.Seeds == 3 {
			close(enough)
		}
	}
	s := Swarm(SwarmConfig{First: 1, Seeds: 1000, Workers: 1, Clock: redlock.SystemClock(), Enough: enough, Progress: told})
	require.Equal(t, 3, s.Seeds)
}

// Faults drawn for a seed print and parse back, so that a seed can be made a
// scenario.
func TestDrawnFaultsParseBack(t *testing.T) {
	for seed := range uint64(300) {
		cfg := Draw(seed)
		require.NoError(t, cfg.Check())
		for _, f := range cfg.Faults {
			g, err := ParseFault(f.String())
			require.NoError(t, err)
			require.Equal(t, f.String(), g.String())
		}
		require.Less(t, cfg.HealAt, 20*time.Minute)
	}
}
