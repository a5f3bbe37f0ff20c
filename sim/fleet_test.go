package sim

import (
	"testing"
	"time"

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

// A server under two names loses what it loses under either of them; a durable one
// loses nothing, unless it is said to leave the assumptions.
func TestADurableNodeThatLosesDataIsBeyondTheAssumptions(t *testing.T) {
	for _, verb := range []string{"crash n1 losing 10ms for 1ms", "failover n1 losing 10ms"} {
		f, err := ParseFault("at 50ms " + verb)
		require.NoError(t, err)
		for kind, beyond := range map[Kind]string{TTLServer: "", LeaseRow: "a durable node loses data"} {
			r := Run(Config{Kinds: []Kind{kind}, HealAt: time.Second, Faults: []Fault{f}})
			require.Equal(t, beyond, r.Beyond, verb)
		}
	}
	for seed := range uint64(3000) {
		c := Draw(seed)
		for _, f := range c.Faults {
			if n := f.Node; f.Losing > 0 && len(c.Kinds) > 0 {
				if c.Alias && n == c.Nodes-1 {
					n = 0
				}
				require.True(t, kinds[c.Kinds[n%len(c.Kinds)]].losesGrants, "seed %d: %v", seed, f)
			}
		}
	}
}
