package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every story ends as it is told, and its twins show what the defence is for.
func TestScenarios(t *testing.T) {
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			r := s.Run(false)
			require.Empty(t, r.Wrong, "%v", r.Report.Violations)
			require.Equal(t, r.Report.Hash, s.Run(true).Report.Hash, "a recording changes nothing")
		})
	}
}
