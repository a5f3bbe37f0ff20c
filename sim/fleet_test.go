package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Of which lists majorities meet is not a matter of how many nodes differ.
func TestListsThatMeet(t *testing.T) {
	for _, c := range []struct {
		a, b uint64
		meet bool
	}{
		{0b00111, 0b00111, true}, {0b00111, 0b11100, false}, {0b00111, 0b01110, false},
		{0b00111, 0b01111, true}, {0b01111, 0b01110, true}, {0b11111, 0b11110, true}, {0b11111, 0b111110, false},
	} {
		require.Equal(t, c.meet, meet(c.a, c.b), "%b %b", c.a, c.b)
		require.Equal(t, c.meet, meet(c.b, c.a), "%b %b", c.b, c.a)
	}
}

// A copy of a machine knows what its original knew, and no more.
func TestACloneGoesOnFromItsSnapshot(t *testing.T) {
	r := Run(story(t, "vm-clone").Config)
	require.Equal(t, UnsafeUnfenced, r.Verdict)
	require.Equal(t, 1, r.Stats.Rejected, "the copy wrote once more, and found out")
	require.Equal(t, 1, r.Stats.LostUpdates)
	require.Equal(t, "a machine was cloned", r.Beyond)
	var tokens []uint64
	for _, a := range r.world.attempts {
		if a.taken {
			tokens = append(tokens, a.token)
		}
	}
	require.Len(t, tokens, 3)
	require.Equal(t, tokens[0], tokens[2], "with the token of the original")
	require.Less(t, tokens[0], tokens[1])
}
