package chaos_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/sim"
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

// What real servers and processes cannot have part in is refused before any of them
// is started, with the reason.
func TestWhatCannotBeToldIsRefused(t *testing.T) {
	c, err := chaos.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for line, why := range map[string]string{
		"fault at 1s clone c1 as c2 for 1s":  "cannot be copied",
		"fault at 1s move c2 to n1,n2":       "nor be given other nodes",
		"fault at 1s suspend c1 for 1s":      "cannot be suspended",
		"fault at 0s lose c1->n2#4":          "has no messages",
		"fault on c1 queues pause c1 for 1s": "no program sees",
		"fault on c1 called pause c1 for 1s": "no program sees",
		"fault on c1 passes pause c1 for 1s": "no program sees",
		"client c1 users=3":                  "one program",
		"world members=n1,n2":                "know all nodes",
	} {
		story, err := sim.ParseScenario("refused", "title refused\nstory it is\n"+line+"\nexpect safe\nreal redis")
		require.NoError(t, err, line)
		telling := chaos.Tellings([]sim.Scenario{story})[0]
		_, err = c.Tell(t.Context(), chaos.Self{}, &telling, 0)
		require.ErrorContains(t, err, why, line)
	}
}
