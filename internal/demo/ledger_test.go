package demo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The checker must find what it is there to find: a demo whose checks cannot
// fail shows nothing.
func TestLedgerFindsPlantedFaults(t *testing.T) {
	for _, c := range []struct {
		name                 string
		windows              []window
		overlaps, disordered int
	}{
		{name: "nothing"},
		{name: "one after the other", windows: []window{{1, 10, 20, false}, {2, 20, 30, false}, {3, 31, 32, false}}},
		{name: "two at once", windows: []window{{1, 10, 20, false}, {2, 19, 30, false}}, overlaps: 1},
		{name: "one inside another", windows: []window{{1, 10, 90, false}, {2, 20, 30, false}, {3, 40, 50, false}}, overlaps: 2},
		{name: "noted in another order", windows: []window{{2, 19, 30, false}, {1, 10, 20, false}}, overlaps: 1},
		{name: "a token twice", windows: []window{{1, 10, 20, false}, {1, 20, 30, false}}, disordered: 1},
		{name: "a token that went back", windows: []window{{5, 10, 20, false}, {3, 20, 30, false}, {4, 30, 40, false}, {6, 40, 50, false}}, disordered: 2},
		{name: "validity over before the worker had it", windows: []window{{1, 10, 5, false}, {2, 11, 12, false}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &ledger{}
			for _, w := range c.windows {
				l.ended(l.granted(w.token, w.from), w.to)
			}
			assert.Equal(t, c.overlaps, l.overlaps())
			assert.Equal(t, c.disordered, l.disordered())
		})
	}
}

// A window that has not ended has no end to compare with yet.
func TestLedgerOpenWindows(t *testing.T) {
	l := &ledger{}
	l.granted(1, 10)
	l.ended(l.granted(2, 20), 30)
	assert.Zero(t, l.overlaps())
	assert.Equal(t, 2, l.acquisitions())
	assert.Equal(t, 1, l.grantedSince(11*time.Nanosecond))
}

func TestRegisters(t *testing.T) {
	fenced, unfenced := &register{fenced: true}, &register{}
	for _, r := range []*register{fenced, unfenced} {
		assert.True(t, r.write(7, "first"))
		assert.True(t, r.write(7, "first again"), "a holder may write as often as it likes")
		assert.True(t, r.write(9, "second"))
		r.write(7, "stale")
		assert.Equal(t, 1, r.staleWrites())
		assert.EqualValues(t, 9, r.newest())
	}
	assert.Equal(t, "second", fenced.by(), "the newer value stays")
	assert.Equal(t, "stale", unfenced.by(), "the newer value is lost")
}
