package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Everything that can happen to a few attempts, with any message late, lost or
// repeated, and any grant gone at any moment: tokens differ and grow.
func TestExploreFindsNothing(t *testing.T) {
	safe, _ := StandardExplorations()
	if testing.Short() || raced {
		safe = []ExploreConfig{{Clients: 2, Nodes: 3, Duplicates: 1}, {Clients: 2, Nodes: 3, Amnesias: 1}}
	}
	for _, cfg := range safe {
		r, err := Explore(cfg)
		require.NoError(t, err)
		require.True(t, r.Exhausted)
		require.Empty(t, r.Broken)
		require.Greater(t, r.Wins, 1_000)
		t.Logf("%v: %d states, %d steps", cfg, r.States, r.Steps)
	}
}

// What tokens rest on is missed as soon as it is left out, and the story of it is
// short enough to be read.
func TestExploreFindsWhatTokensRestOn(t *testing.T) {
	_, broken := StandardExplorations()
	for _, cfg := range broken {
		t.Run(cfg.Without.String(), func(t *testing.T) {
			r, err := Explore(cfg)
			require.NoError(t, err)
			require.Contains(t, r.Broken, "got token")
			require.False(t, r.Exhausted)
			require.NotEmpty(t, r.Story)
			require.Less(t, len(r.Story), 25)
			for _, line := range r.Story {
				t.Log(line)
			}
		})
	}
}

// Where an exploration stops early it says so.
func TestExploreStopsAtItsBound(t *testing.T) {
	r, err := Explore(ExploreConfig{Clients: 3, Nodes: 3, MaxStates: 1000})
	require.NoError(t, err)
	require.False(t, r.Exhausted)
	require.Equal(t, 1000, r.States)
	_, err = Explore(ExploreConfig{Clients: 4, Nodes: 3})
	require.Error(t, err)
}
