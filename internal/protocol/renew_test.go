package protocol

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A used attempt that is renewed has nothing left of its life before.
func TestRenewedAttemptsAreNew(t *testing.T) {
	cfg := storyConfig(3)
	used := New(&cfg)
	var out []Output
	now := storyStart
	out = used.Step(now, Input{Kind: Start, TTL: storyTTL, Hint: 9, Spare: 3, Queue: true}, out)
	for node := range 3 {
		out = used.Step(now+1, Input{Kind: Voted, Node: node, Request: uint32(node + 1), Op: Acquire,
			Vote: Vote{Outcome: Granted, Fence: uint64(7 + node), Counter: 12}}, out)
	}
	used.Step(now+2, Input{Kind: Relinquish}, out)
	other := storyConfig(3)
	fresh := New(&other)
	require.NotEqual(t, fresh, used)
	used.Renew(&other)
	require.Equal(t, fresh, used)
}
