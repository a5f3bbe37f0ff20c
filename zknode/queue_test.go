package zknode

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// A key is set aside until the ensemble's clock says that it is over, or ours says
// that we have known of it for as long.
func TestHowLongAKeyIsSetAside(t *testing.T) {
	t.Parallel()
	const hold = 100 * time.Millisecond
	date := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		unknown bool          // the ensemble's clock is
		written time.Duration // how long before it is seen, by that clock
		want    time.Duration // from then
	}{
		"seen at once":           {want: hold},
		"seen late":              {written: 70 * time.Millisecond, want: 30 * time.Millisecond},
		"seen too late":          {written: time.Hour, want: 0},
		"the clock was set back": {written: -time.Hour, want: hold},
		"the clock is not known": {unknown: true, written: 70 * time.Millisecond, want: hold},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := redlock.NewManualClock(date)
			n := New(nil, Options{Servers: []string{"localhost"}, Clock: clock})
			if !tc.unknown {
				n.horizon.wrote(date.UnixMilli(), clock.Now(), clock.Now())
			}
			st := state{exists: true, mtime: date.Add(-tc.written).UnixMilli(), seen: clock.Now()}
			st.Aside = &aside{Waiter: "w", Hold: hold.Milliseconds()}
			if tc.want > 0 {
				clock.Advance(tc.want - 1)
				require.True(t, n.isAside(st))
				clock.Advance(1)
			}
			require.False(t, n.isAside(st))
		})
	}
}

// A key that is looked at again and again is not set aside anew each time.
func TestSettingAsideIsSeenOnce(t *testing.T) {
	t.Parallel()
	clock := redlock.NewManualClock(time.Now())
	n := New(nil, Options{Servers: []string{"localhost"}, Clock: clock})
	first := clock.Now()
	n.remember("k", state{exists: true, version: 1, mtime: 1, seen: first})
	clock.Advance(time.Second)
	again := n.remember("k", state{exists: true, version: 1, mtime: 1, seen: clock.Now()})
	require.Equal(t, first, again.seen)
	changed := n.remember("k", state{exists: true, version: 2, mtime: 2, seen: clock.Now()})
	require.Equal(t, clock.Now(), changed.seen)
}
