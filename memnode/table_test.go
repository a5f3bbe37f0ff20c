package memnode

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// TestBounded: a node that serves ever new keys and owners keeps those of its
// retentions only.
func TestBounded(t *testing.T) {
	clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	n := New(Options{Clock: clock, FenceRetention: time.Minute, TombstoneRetention: 10 * time.Second})
	mostRecords, mostTombs := 0, 0
	for i := range 10_000 {
		key, owner := fmt.Sprint("key-", i), fmt.Sprint("owner-", i)
		v, err := n.Acquire(t.Context(), redlock.AcquireRequest{Key: key, Owner: owner, TTL: time.Second})
		require.NoError(t, err)
		require.True(t, v.Granted)
		require.NoError(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: key, Owner: owner}))
		clock.Advance(100 * time.Millisecond)
		mostRecords = max(mostRecords, len(n.table.records))
		mostTombs = max(mostTombs, len(n.table.tombs.young)+len(n.table.tombs.old))
	}
	// 10 a second: 1.5 retentions of records, 2 of tombstones.
	assert.InDelta(t, 900, mostRecords, 20)
	assert.InDelta(t, 200, mostTombs, 10)
}
