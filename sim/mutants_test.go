package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/quorumlock/redlock"
)

// A checker that notices nothing is worth nothing: each defence that is left out
// is noticed, and the protocol with all of them is not accused.
func TestMutantsAreCaught(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes a while")
	}
	for _, m := range Mutants(redlock.SystemClock(), 2, nil) {
		t.Logf("%-20v %-9s %-24s %-14s %v", m.Defence, m.Mode, m.Where, m.Breaks, m.Took.Round(time.Millisecond))
		assert.NotEmpty(t, m.Mode, "nobody misses %v", m.Defence)
	}
}
