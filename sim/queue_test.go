package sim

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The queue gives events in the order of a plain sorted list, whatever mix of near
// and far events, equal times and alarms comes, while it grows and while it shrinks.
func TestQueueIsSorted(t *testing.T) {
	for seed := range uint64(60) {
		d := draw{newChooser(seed, 1, nil)}
		var q queue
		var want []event
		now := Time(0)
		spread := of(&d, int64(1), 3, 1000)
		for i := range 4000 {
			growing := i%1000 < 500
			if len(want) > 0 && d.one(of(&d, 2, 3)) != growing {
				require.False(t, q.empty())
				e := q.pop()
				require.Equal(t, want[0], e)
				want, now = want[1:], e.at
				continue
			}
			at := now + Time(d.below(0, spread))
			if d.one(4) {
				at += 500
			}
			kind := of(&d, evRequest, evRequest, evAlarm)
			e := newEvent(kind, 0, 0, 0, at)
			q.push(e)
			e = e.numbered(q.seq)
			at2, _ := slices.BinarySearchFunc(want, e, func(a, b event) int {
				if a.before(b) {
					return -1
				}
				return 1
			})
			want = slices.Insert(want, at2, e)
		}
		for _, e := range want {
			require.Equal(t, e, q.pop())
		}
		require.True(t, q.empty())
	}
}
