package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Everything that can happen to two attempts on three nodes, with any message
// lost or late and any grant gone at any moment: tokens differ and grow.
func TestExploreTwoClients(t *testing.T) {
	r, err := Explore(ExploreConfig{Clients: 2, Nodes: 3})
	require.NoError(t, err)
	require.True(t, r.Exhausted)
	require.Empty(t, r.Broken)
	require.Greater(t, r.Wins, 1_000)
	t.Logf("%d states, %d steps", r.States, r.Steps)
}

// The defences that only a search finds the need for.
func TestExploreFindsWhatTokensRestOn(t *testing.T) {
	for without, cfg := range map[Defence]ExploreConfig{
		ConfirmByOwner: {Clients: 2, Nodes: 3},
		NoHigherGrants: {Clients: 3, Nodes: 3},
		ConfirmByFence: {Clients: 2, Nodes: 3, Duplicates: 1},
	} {
		t.Run(without.String(), func(t *testing.T) {
			cfg.Without = without
			r, err := Explore(cfg)
			require.NoError(t, err)
			require.Contains(t, r.Broken, "both got token")
			require.NotEmpty(t, r.Story)
			for _, line := range r.Story {
				t.Log(line)
			}
		})
	}
}
