package chaos_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/sim/chaos"
)

// Every story that is told on real servers ends in the simulator as it is told
// there: the language is one.
func TestStoriesInTheSimulator(t *testing.T) {
	for _, s := range chaos.Stories() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r := s.Run(false)
			require.Empty(t, r.Wrong, "%v", r.Report.Violations)
		})
	}
}

// Each quorum, and each guard that a real client can do without, has its stories.
func TestStoriesCoverWhatThereIs(t *testing.T) {
	on, without := map[string]int{}, map[string]int{}
	for _, telling := range chaos.Tellings(chaos.Stories()) {
		on[telling.Quorum]++
		without[telling.Without.String()]++
	}
	for _, quorum := range chaos.Quorums() {
		assert.Positive(t, on[quorum], quorum)
	}
	for _, defence := range []string{"restart-guard", "clock-guard", "count-from-sending", "release-by-owner"} {
		assert.Positive(t, without[defence], defence)
	}
}
