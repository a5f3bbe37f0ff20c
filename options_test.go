package redlock_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// What cannot be safe is refused by New, with a word on what to change.
func TestNewRefusesWhatCannotBeSafe(t *testing.T) {
	three := memnode.NewN(3, memnode.Options{})
	var nilNode *memnode.Node
	cases := []struct {
		name  string
		nodes []redlock.Node
		opts  redlock.Options
		says  string
	}{
		{"no nodes", nil, redlock.Options{}, "no nodes"},
		{"nil node", []redlock.Node{three[0], nil}, redlock.Options{}, "node 1 is nil"},
		{"nil pointer", []redlock.Node{nilNode}, redlock.Options{}, "node 0 is nil"},
		{"repeated node", []redlock.Node{three[0], three[1], three[0]}, redlock.Options{}, "given twice would vote twice"},
		{"too many nodes", memnode.NewN(65, memnode.Options{}), redlock.Options{}, "use at most 64"},
		{"negative TTL", three, redlock.Options{TTL: -1}, "TTL is -1ns"},
		{"negative retry", three, redlock.Options{RetryMin: -1}, "RetryMin is -1ns"},
		{"TTL above MaxTTL", three, redlock.Options{TTL: time.Minute, MaxTTL: time.Second}, "raise MaxTTL on every client"},
		{"endless MaxTTL", three, redlock.Options{MaxTTL: math.MaxInt64}, "MaxTTL is"},
		{"tiny TTL", three, redlock.Options{TTL: 500 * time.Microsecond}, "is used up by"},
		{"short TTL", three, redlock.Options{TTL: 4 * time.Millisecond}, "too short for NodeTimeout"},
		{"large drift", three, redlock.Options{DriftFactor: 0.9999}, "lower DriftFactor"},
		{"negative drift", three, redlock.Options{DriftFactor: -0.1}, "DriftFactor is -0.1"},
		{"drift that is no number", three, redlock.Options{DriftFactor: math.NaN()}, "DriftFactor is NaN"},
		{"node timeout as long as the TTL", three, redlock.Options{NodeTimeout: 10 * time.Second}, "NodeTimeout 10s is not below TTL 10s"},
		{"node timeout and validity together", three, redlock.Options{NodeTimeout: 5 * time.Second, MinValidity: 5 * time.Second}, "raise TTL or lower the others"},
		{"quorum below a majority", three, redlock.Options{Quorum: 1}, "use at least 2"},
		{"half of an even number", memnode.NewN(4, memnode.Options{}), redlock.Options{Quorum: 2}, "use at least 3"},
		{"quorum above all", three, redlock.Options{Quorum: 4}, "only 3 nodes"},
		{"no time to hold", three, redlock.Options{MaxHold: time.Second}, "raise MaxHold or lower MinValidity"},
		{"negative attempts", three, redlock.Options{Attempts: -1}, "Attempts is -1"},
		{"retries upside down", three, redlock.Options{RetryMin: time.Second, RetryMax: time.Millisecond}, "above RetryMax"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := redlock.New(c.nodes, c.opts)
			require.ErrorContains(t, err, c.says)
			assert.Contains(t, err.Error(), "redlock: ")
		})
	}
}

func TestNewAcceptsWhatUsersWouldTry(t *testing.T) {
	for _, opts := range []redlock.Options{
		{},
		{TTL: 10 * time.Millisecond},
		{TTL: 100 * time.Millisecond},
		{TTL: time.Hour},
		{TTL: time.Second, MaxTTL: time.Minute},
		{RetryMin: time.Second},
		{RetryMax: time.Microsecond},
		{Quorum: 3, OutageWait: -1},
	} {
		_, err := redlock.New(memnode.NewN(3, memnode.Options{}), opts)
		require.NoError(t, err, "%+v", opts)
	}
}

// The random source is the user's, and its failure is an error, not a weak id.
func TestRandomSourceFails(t *testing.T) {
	l, err := redlock.New(memnode.NewN(3, memnode.Options{}), redlock.Options{Random: noRandom{}})
	require.NoError(t, err)
	_, err = l.Lock(t.Context(), "k")
	require.ErrorContains(t, err, "owner id: no entropy")
	require.NoError(t, l.Close(t.Context()))
}

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, errors.New("no entropy") }
