package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A checker that is not ours comes to the same verdict.
func TestHistoriesAreThoseOfOneLock(t *testing.T) {
	checked := 0
	for seed := range uint64(30) {
		r := Run(Draw(seed))
		if r.Beyond != "" {
			continue
		}
		ok, known := r.Linearizable(5 * time.Second)
		if known {
			checked++
			require.True(t, ok, "seed %d", seed)
		}
	}
	require.Greater(t, checked, 20)
}

func TestHistoriesOfTwoHoldersAreNot(t *testing.T) {
	for _, s := range Scenarios() {
		if s.Name != "kleppmann-crash-restart" {
			continue
		}
		ok, known := ptr(Run(s.Config)).Linearizable(5 * time.Second)
		require.True(t, known && ok)
		s.Config.Without = s.Twins[0].Without
		ok, known = ptr(Run(s.Config)).Linearizable(5 * time.Second)
		require.True(t, known && !ok)
	}
}

func ptr(r Report) *Report { return &r }
