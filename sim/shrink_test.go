package sim

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// A long run that breaks something becomes a story that a person reads.
func TestShrinkingTellsAShortStory(t *testing.T) {
	for _, without := range []Defence{RestartGuard, MajorityQuorum, CountFromSending, Tombstones} {
		t.Run(without.String(), func(t *testing.T) {
			var cfg Config
			for seed := uint64(1); ; seed++ {
				cfg = Draw(seed)
				cfg.Without = without
				if cfg.Nodes > 5 {
					continue // the votes of a larger quorum alone would be a long story
				}
				if r := Run(cfg); r.Verdict == Violated {
					break
				}
			}
			s, ok := Shrink(cfg)
			require.True(t, ok)
			t.Logf("%d of %d faults, %d of %d events, %d runs", s.After, s.Before, s.Report.Stats.Events, s.Events, s.Runs)
			for _, f := range s.Report.Config.Faults {
				t.Log(f)
			}
			for _, n := range s.Report.Story() {
				t.Logf("%v %s %s", n.At, n.Who, n.Text)
			}
			require.LessOrEqual(t, s.After, s.Before)
			require.Less(t, len(s.Report.Story()), 20)
		})
	}
}

// What is told of a smaller run is what broke in the larger, also where only time
// that passes shows it.
func TestWhatIsShrunkStillShowsItsViolation(t *testing.T) {
	stuck := 0
	for _, s := range Scenarios() {
		for _, twin := range s.Twins {
			// These two are seen to break at an event that does not count.
			if twin.Breaks != Liveness || s.Name != "release-reorder" && s.Name != "paused-waiter" {
				continue
			}
			stuck++
			cfg := s.Config
			cfg.Without |= twin.Without
			small, ok := Shrink(cfg)
			require.True(t, ok)
			require.NotNil(t, small.Report.Broken(), s.Name)
			require.Equal(t, Liveness, small.Report.Broken().Invariant)
		}
	}
	require.Equal(t, 2, stuck)
}

func TestReplaysRunToTheSameHash(t *testing.T) {
	for seed := range uint64(12) {
		r := Run(Draw(seed))
		p := r.Replay()
		data, err := json.Marshal(p)
		require.NoError(t, err)
		_, cfg, err := Load(data)
		require.NoError(t, err)
		again := Run(cfg)
		require.Equal(t, r.Hash, again.Hash, "seed %d", seed)
	}
	_, _, err := Load([]byte("{}"))
	require.Error(t, err)
}
