package protocol

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seen is an answer that a node of a guarded group gave.
type seen struct {
	after time.Duration // when it was sent, since the beginning
	trip  time.Duration // how long it took
	node  int
	facts Facts
	bar   Bar
	wait  time.Duration
	other int
}

// watchAll feeds the guards of three nodes with answers in order.
func watchAll(t *testing.T, answers []seen) {
	t.Helper()
	cfg := storyConfig(3)
	g := NewGuards(&cfg)
	for i, a := range answers {
		sent := storyStart.Add(a.after)
		bar, wait, other := g.Admit(a.node, sent, sent.Add(a.trip), a.facts)
		require.Equal(t, a.bar, bar, "answer %d", i)
		require.Equal(t, a.wait, wait, "answer %d", i)
		if bar == Alias {
			require.Equal(t, a.other, other, "answer %d", i)
		}
	}
}

// storyGrace is how long a grant can stand, seen from anywhere.
const storyGrace = 10*time.Second + 102*time.Millisecond

// A node that restarted without its data would grant again what others hold.
func TestYoungNodesAreBarredUntilWhatTheyLostHasExpired(t *testing.T) {
	watchAll(t, []seen{
		{facts: Facts{Age: time.Nanosecond}, bar: Young, wait: storyGrace - 1},
		{facts: Facts{Age: storyGrace - 1}, bar: Young, wait: 1},
		{facts: Facts{Age: storyGrace}},
		{facts: Facts{Age: time.Hour}},
		{facts: Facts{}}, // loses nothing
		{node: 1, facts: Facts{Age: time.Second}, bar: Young, wait: storyGrace - time.Second},
		{node: 2, facts: Facts{}},
	})
}

// clock is a reading of a node whose clock was ahead of ours by a minute when it
// started, and has leapt by a total of leap since.
func clock(handled, leap time.Duration) Facts {
	return Facts{Clock: int64(storyStart.Add(handled + time.Minute + leap))}
}

// A clock that leaps forward ends grants early, and the holder cannot know.
func TestLeapsForwardAreBarred(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	t.Run("until every grant it may have ended would have expired", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, facts: clock(s, s), bar: Leapt, wait: storyGrace},
			{after: 2 * s, facts: clock(2*s, s), bar: Leapt, wait: storyGrace - s},
			{after: s + storyGrace - 1, facts: clock(s+storyGrace, s), bar: Leapt, wait: 1},
			{after: s + storyGrace, facts: clock(s+storyGrace, s)},
		})
	})
	t.Run("a second leap bars for longer", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, facts: clock(s, s), bar: Leapt, wait: storyGrace},
			{after: 5 * s, facts: clock(5*s, 2*s), bar: Leapt, wait: storyGrace},
		})
	})
	t.Run("not within what validity allows for: 12 ms a second", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, facts: clock(s, 12*ms)},
		})
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, facts: clock(s, 12*ms+1), bar: Leapt, wait: storyGrace},
		})
	})
	t.Run("creeping leaps add up", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: 100 * ms, facts: clock(100*ms, 1*ms)},
			{after: 200 * ms, facts: clock(200*ms, 2*ms)},
			{after: 300 * ms, facts: clock(300*ms, 4*ms)},
			{after: 400 * ms, facts: clock(400*ms, 7*ms), bar: Leapt, wait: storyGrace},
		})
	})
	t.Run("each node has its own clock", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, node: 0, facts: clock(0, 0)},
			{after: s, node: 1, facts: clock(s, time.Hour)},
			{after: s, node: 0, facts: clock(s, 0)},
			{after: 2 * s, node: 1, facts: clock(2*s, time.Hour)},
		})
	})
	t.Run("a slow answer is no leap", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, trip: 300 * ms, facts: clock(s+300*ms, 0)},
			{after: 2 * s, trip: 300 * ms, facts: clock(2*s, 0)},
			{after: 3 * s, trip: 300 * ms, facts: clock(3*s+300*ms, 0)},
			{after: 4 * s, facts: clock(4*s, 0)},
		})
	})
	t.Run("a slow first answer hides a leap no longer than its trip", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, trip: 300 * ms, facts: clock(300*ms, 0)},
			{after: s, facts: clock(s, 300*ms)},
		})
		watchAll(t, []seen{
			{after: 0, trip: 300 * ms, facts: clock(0, 0)},
			{after: s, facts: clock(s, 300*ms), bar: Leapt, wait: storyGrace},
		})
	})
	t.Run("a node that shows no clock is not judged by it", func(t *testing.T) {
		watchAll(t, []seen{
			{after: 0, facts: clock(0, 0)},
			{after: s, facts: Facts{}},
			{after: s, facts: clock(s, 0)},
		})
	})
}

// Backward, grants last too long, which only costs time. But a clock that was
// set back by mistake is set right again.
func TestLeapsBackwardAreHarmlessTheWayBackIsNot(t *testing.T) {
	const s = time.Second
	watchAll(t, []seen{
		{after: 0, facts: clock(0, 0)},
		{after: s, facts: clock(s, -s)},
		{after: 2 * s, facts: clock(2*s, -s)},
		{after: 3 * s, facts: clock(3*s, 0), bar: Leapt, wait: storyGrace},
	})
}

// Readings older than any grant say nothing about those that stand, and years
// of honest drift must not look like a leap.
func TestOldReadingsAreForgotten(t *testing.T) {
	const d = storyGrace
	watchAll(t, []seen{
		{after: 0, facts: clock(0, 0)},
		{after: d + 1, facts: clock(d+1, time.Hour)},
		{after: d + 2, facts: clock(d+2, time.Hour)},
		{after: d + time.Second, facts: clock(d+time.Second, 2*time.Hour), bar: Leapt, wait: d},
	})
	watchAll(t, []seen{
		{after: 0, facts: clock(0, 0)},
		{after: d, facts: clock(d, time.Hour), bar: Leapt, wait: d},
	})
}

// One server behind two names would vote twice.
func TestAliasesAreBarred(t *testing.T) {
	a, b, c := Facts{Incarnation: "a"}, Facts{Incarnation: "b"}, Facts{Incarnation: "c"}
	t.Run("the first to show it keeps voting", func(t *testing.T) {
		watchAll(t, []seen{
			{node: 1, facts: a},
			{node: 0, facts: a, bar: Alias, other: 1},
			{node: 1, facts: a},
			{node: 0, facts: a, bar: Alias, other: 1},
			{node: 2, facts: c},
		})
	})
	t.Run("a node that moves onto another's server", func(t *testing.T) {
		watchAll(t, []seen{
			{node: 0, facts: a},
			{node: 1, facts: b},
			{node: 1, facts: a, bar: Alias, other: 0},
			{node: 0, facts: a},
			{node: 1, facts: b},
		})
	})
	t.Run("a restart changes the name, and frees the old one", func(t *testing.T) {
		watchAll(t, []seen{
			{node: 0, facts: a},
			{node: 0, facts: b},
			{node: 1, facts: a},
			{node: 1, facts: b, bar: Alias, other: 0},
		})
	})
	t.Run("nodes that cannot tell are not compared", func(t *testing.T) {
		watchAll(t, []seen{{node: 0}, {node: 1}, {node: 2}})
	})
	t.Run("an alias that is young is an alias first", func(t *testing.T) {
		watchAll(t, []seen{
			{node: 0, facts: a},
			{node: 1, facts: Facts{Incarnation: "a", Age: time.Second}, bar: Alias, other: 0},
		})
	})
}

// A leap that the time since the first reading would explain is seen by the
// latest: the holder of a short grant gave up far less than that.
func TestLeapsAreSeenByTheLatestReading(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	watchAll(t, []seen{
		{after: 0, facts: clock(0, 0)},
		{after: 8900 * ms, facts: clock(8900*ms, 0)},
		{after: 9 * s, facts: clock(9*s, 90*ms), bar: Leapt, wait: storyGrace},
	})
	// Also when the first is so old that it no longer counts.
	watchAll(t, []seen{
		{after: 0, facts: clock(0, 0)},
		{after: 10 * s, facts: clock(10*s, 0)},
		{after: 11 * s, facts: clock(11*s, 90*ms), bar: Leapt, wait: storyGrace},
	})
}

// Drift counts from when a request was sent: it may have been handled then.
func TestDriftDuringARoundTripIsNoLeap(t *testing.T) {
	const ms = time.Millisecond
	watchAll(t, []seen{
		{after: 0, trip: 250 * ms, facts: clock(0, 0)},
		{after: 249 * ms, trip: ms, facts: clock(250*ms, 2250*time.Microsecond)},
	})
}

// A node may show a reading that an earlier request asked for. However late that
// request's answer was seen, what is compared is when it was sent.
func TestAnEarlierReadingIsNoLeap(t *testing.T) {
	cfg := storyConfig(1)
	const ms = time.Millisecond
	g := NewGuards(&cfg)
	clock := int64(1_700_000_000_000_000_000) // of the node, at storyStart
	at := func(d time.Duration) Instant { return storyStart.Add(d) }
	admit := func(sent, answered, read, before time.Duration) Bar {
		bar, _, _ := g.Admit(0, at(sent), at(answered), Facts{Clock: clock + int64(read), ClockBefore: before})
		return bar
	}
	// It was read at 1 ms, and the answer was seen at 80 ms. A refusal shows it again.
	require.Equal(t, NotBarred, admit(100*ms, 101*ms, ms, 100*ms))
	require.Equal(t, NotBarred, admit(200*ms, 201*ms, 200*ms, 0), "the clock ran on evenly")
	require.Equal(t, Leapt, admit(300*ms, 301*ms, 500*ms, 0))
}
