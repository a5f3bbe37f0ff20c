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
		{"no time to hold", three, redlock.Options{MaxHold: 5 * time.Second, MinValidity: 5 * time.Second}, "raise MaxHold or lower the others"},
		{"no time to ask", three, redlock.Options{MaxHold: 499 * time.Millisecond}, "MaxHold 499ms is too short for MinValidity 249.5ms and NodeTimeout 250ms"},
		{"many handoffs", three, redlock.Options{LocalHandoffs: 4097}, "LocalHandoffs is 4097: use at most 4096"},
		{"endless TTL", three, redlock.Options{TTL: math.MaxInt64}, "TTL is 2562047h47m16.854775807s: use at most 8760h"},
		{"endless validity", three, redlock.Options{MinValidity: math.MaxInt64}, "MinValidity is"},
		{"endless node timeout", three, redlock.Options{NodeTimeout: math.MaxInt64}, "NodeTimeout is"},
		{"endless hold", three, redlock.Options{MaxHold: math.MaxInt64}, "zero is for no limit"},
		{"endless shortest pause", three, redlock.Options{RetryMin: math.MaxInt64}, "RetryMin is"},
		{"endless longest pause", three, redlock.Options{RetryMax: math.MaxInt64}, "RetryMax is"},
		{"endless outage", three, redlock.Options{OutageWait: math.MaxInt64}, "negative is for ever"},
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
		{LocalHandoffs: 4096},
		{MaxHold: 500 * time.Millisecond},
		{MaxHold: time.Second},
		{MaxHold: time.Hour},
		{TTL: time.Hour, MaxHold: time.Minute},
	} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 3, opts)
			lease, err := w.locker.TryLock(t.Context(), "k")
			require.NoError(t, err, "%+v", opts)
			require.NoError(t, lease.Unlock(t.Context()), "%+v", opts)
		})
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
