package protocol

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func contended(elapsed, remaining time.Duration) Failure {
	return Failure{Reason: Contended, Elapsed: elapsed, Remaining: remaining}
}

// Random pauses are what keeps waiters apart: too short, they keep each other
// from a majority; too long, the key lies free.
func TestBackoffBounds(t *testing.T) {
	cfg := storyConfig(3)
	randoms := []uint64{0, 1, 12345, 1 << 40, math.MaxUint64}
	for _, trip := range []time.Duration{0, time.Microsecond, 3 * time.Millisecond, 20 * time.Millisecond, 400 * time.Millisecond, time.Second, time.Hour} {
		floor := max(cfg.RetryMin, trip)
		if trip > 4*cfg.NodeTimeout {
			floor = cfg.RetryMin // it was no trip
		}
		for _, random := range randoms {
			w := Waiter{Config: &cfg}
			for try := range 70 {
				wait, again := w.Next(storyStart, contended(trip, 0), random)
				require.True(t, again)
				require.GreaterOrEqual(t, wait, floor, "never below a round trip")
				require.Less(t, wait, max(cfg.RetryMax, 2*patience*floor), "bounded")
				if try < 20 {
					require.Less(t, wait, floor+floor<<try, "the window doubles with each try")
				}
			}
		}
	}
}

// Each wait must be able to use its whole window, or waiters bunch together.
func TestBackoffUsesItsWindow(t *testing.T) {
	cfg := storyConfig(3)
	w := Waiter{Config: &cfg}
	for try, window := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 248, 248} {
		window *= time.Millisecond
		low, high := w, w
		wait, _ := low.Next(storyStart, contended(0, 0), 0)
		require.Equal(t, cfg.RetryMin, wait, "try %d", try)
		wait, _ = high.Next(storyStart, contended(0, 0), uint64(window-1))
		require.Equal(t, cfg.RetryMin+window-1, wait, "try %d", try)
		w = high
	}
}

// A holder's remaining time is when its key is free at the latest: to wait past
// it is to idle.
func TestWaitsEndWithTheHoldersTime(t *testing.T) {
	cfg := storyConfig(3)
	for _, random := range []uint64{0, 7_777_777, math.MaxUint64} {
		w := Waiter{Config: &cfg}
		for range 20 {
			wait, again := w.Next(storyStart, contended(time.Millisecond, 30*time.Millisecond), random)
			require.True(t, again)
			require.Less(t, wait, 30*time.Millisecond+cfg.RetryMin)
			require.Positive(t, wait)
		}
	}
}

// Contention ends some day; who gives up on it starves.
func TestContentionIsWaitedOutForEver(t *testing.T) {
	cfg := storyConfig(3)
	w := Waiter{Config: &cfg}
	for i := range 1000 {
		_, again := w.Next(storyStart.Add(time.Duration(i)*time.Hour), contended(time.Millisecond, 0), uint64(i))
		require.True(t, again)
	}
}

// An outage must be told of, but not a blip.
func TestOutagesAreWaitedOutForOutageWait(t *testing.T) {
	outage := Failure{Reason: NoQuorum, Elapsed: 10 * time.Millisecond}
	const ms = time.Millisecond
	next := func(w *Waiter, at time.Duration, f Failure) bool {
		_, again := w.Next(storyStart.Add(at), f, 0)
		return again
	}
	t.Run("counted from the first attempt's beginning", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		require.True(t, next(&w, 10*ms, outage))
		require.True(t, next(&w, 99*ms, outage))
		require.False(t, next(&w, 100*ms, outage))
	})
	t.Run("an attempt that took so long by itself is the last", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		require.False(t, next(&w, 100*ms, Failure{Reason: NoQuorum, Elapsed: 100 * ms}))
	})
	t.Run("a quorum in between begins it anew", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		require.True(t, next(&w, 10*ms, outage))
		require.True(t, next(&w, 90*ms, contended(ms, 0)))
		require.True(t, next(&w, 150*ms, outage))
		require.True(t, next(&w, 239*ms, outage))
		require.False(t, next(&w, 240*ms, outage))
	})
	t.Run("counted from when another found it who came first", func(t *testing.T) {
		cfg := storyConfig(3)
		first, second := Waiter{Config: &cfg}, Waiter{Config: &cfg}
		require.Zero(t, first.Outage())
		require.True(t, next(&first, 10*ms, outage))
		require.Equal(t, storyStart, first.Outage())
		second.TakeOver(first.Outage())
		require.True(t, next(&second, 99*ms, outage))
		require.False(t, next(&second, 100*ms, outage))
		require.Equal(t, storyStart, second.Outage(), "for the next")
	})
	t.Run("one that is over for whoever comes next is forgotten", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		w.TakeOver(storyStart)
		require.True(t, next(&w, time.Second, contended(ms, 0)))
		require.Zero(t, w.Outage())
		require.True(t, next(&w, time.Second+10*ms, outage))
		w.TakeOver(0)
		require.Zero(t, w.Outage())
		require.True(t, next(&w, time.Hour, outage), "none was taken over")
	})
	t.Run("healing is waited for, and polled for seldom", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		healing := outage
		healing.HealsIn = time.Minute
		for i := range 100 {
			wait, again := w.Next(storyStart.Add(time.Duration(i)*time.Second), healing, uint64(i))
			require.True(t, again)
			require.Equal(t, healingPoll, wait)
		}
		healing.HealsIn = 100 * ms
		wait, again := w.Next(storyStart, healing, 3)
		require.True(t, again)
		require.GreaterOrEqual(t, wait, 100*ms)
		require.Less(t, wait, 110*ms)
	})
	t.Run("votes that came too late are an outage as well", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		require.False(t, next(&w, time.Second, Failure{Reason: TooSlow, Elapsed: 300 * ms}))
	})
	t.Run("a process that stood still has seen none", func(t *testing.T) {
		cfg := storyConfig(3)
		w := Waiter{Config: &cfg}
		frozen := outage
		frozen.Elapsed = time.Hour
		wait, again := w.Next(storyStart.Add(time.Hour), frozen, 1<<40)
		require.True(t, again)
		require.LessOrEqual(t, wait, cfg.RetryMax)
		require.False(t, next(&w, time.Hour+100*ms, outage), "but the second time it has")
	})
	t.Run("negative is for ever", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.OutageWait = -1
		w := Waiter{Config: &cfg}
		require.True(t, next(&w, 0, outage))
		require.True(t, next(&w, 1000*time.Hour, outage))
	})
	t.Run("zero is not at all", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.OutageWait = 0
		w := Waiter{Config: &cfg}
		require.False(t, next(&w, 10*ms, outage))
	})
}

// Hints that agree make one trip the rule; hints above every counter seen make
// tokens grow after a loss.
func TestHint(t *testing.T) {
	cfg := storyConfig(3)
	w := Waiter{Config: &cfg}
	require.EqualValues(t, 1, w.Hint(0))
	require.EqualValues(t, 1, w.Hint(-5), "a clock before 1970")
	require.EqualValues(t, 1_000, w.Hint(1_000))
	w.Next(storyStart, Failure{Reason: Contended, Counter: 5_000}, 0)
	require.EqualValues(t, 5_001, w.Hint(1_000))
	require.EqualValues(t, 9_000, w.Hint(9_000))
	w.Next(storyStart, Failure{Reason: Contended, Counter: 4_000}, 0)
	require.EqualValues(t, 5_001, w.Hint(1_000), "counters are never forgotten")
	require.EqualValues(t, MaxToken, w.Hint(math.MaxInt64))
	w.Next(storyStart, Failure{Reason: Contended, Counter: MaxToken}, 0)
	require.EqualValues(t, MaxToken, w.Hint(0))
}

func queueing() (*Waiter, Failure) {
	cfg := &Config{Nodes: 5, Quorum: 3, NodeTimeout: 100 * time.Millisecond, RetryMin: 2 * time.Millisecond, RetryMax: 250 * time.Millisecond, Queues: 5}
	return &Waiter{Config: cfg}, Failure{Reason: Contended, Elapsed: 2 * time.Millisecond}
}

func TestAWaiterAsksForPlacesOnceOthersWantTheKey(t *testing.T) {
	w, f := queueing()
	assert.False(t, w.Begin(false))
	wait, again := w.Next(0, f, 0)
	assert.True(t, again)
	assert.Zero(t, wait, "places are asked for at once")
	assert.True(t, w.Begin(false))

	known, _ := queueing()
	assert.True(t, known.Begin(true), "others were seen to want it lately")

	without, _ := queueing()
	without.Config.Queues = 0
	assert.False(t, without.Begin(true))
}

func TestAWaiterSleepsUntilAQuorumCalls(t *testing.T) {
	w, f := queueing()
	w.Begin(true)
	f.Queued = 0b11111
	hold := w.Config.Hold()
	for _, poll := range []time.Duration{hold, 2 * hold, 4 * hold} {
		wait, _ := w.Next(0, f, uint64(2*poll-1))
		assert.Equal(t, hold/4+2*poll-1, wait, "a call may have got lost")
	}
	for range 100 {
		w.Next(0, f, 0)
	}
	wait, _ := w.Next(0, f, uint64(2*w.Config.Poll()-1))
	assert.Equal(t, hold/4+2*w.Config.Poll()-1, wait)
	wait, _ = w.Next(0, f, 0)
	assert.Less(t, wait, hold, "the key may be set aside, and the call be lost")
	assert.Positive(t, w.Woken(0), "the others may not know yet")
	assert.Positive(t, w.Woken(0), "a node calls twice")
	assert.Less(t, w.Woken(3), w.Config.Hold(), "while it is still set aside")
	assert.Zero(t, w.Woken(4))
	assert.False(t, w.Begin(false), "it will win, and leaves no places behind")
	assert.Positive(t, w.Woken(4), "an attempt uses the calls up")
	assert.True(t, w.Begin(false))
}

func TestACallDuringAnAttemptIsNotLost(t *testing.T) {
	w, f := queueing()
	w.Begin(true)
	w.Woken(1)
	w.Woken(2)
	w.Woken(3)
	f.Queued = 0b11111
	wait, again := w.Next(0, f, 0)
	assert.True(t, again)
	assert.Zero(t, wait)
}

// So is one of too few nodes: what they set aside is asked for in time.
func TestAPartialCallDuringAnAttemptIsNotLost(t *testing.T) {
	w, f := queueing()
	w.Begin(true)
	w.Woken(1)
	f.Queued = 0b11111
	wait, again := w.Next(0, f, 1<<40)
	assert.True(t, again)
	assert.Positive(t, wait)
	assert.Less(t, wait, w.Config.Hold())
}

// Two waiters that have some nodes each would pass them to each other for ever if
// they asked at the same time.
func TestPartialCallsAreWaitedOutForATimeThatIsDrawn(t *testing.T) {
	for _, trip := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond} {
		w, _ := queueing()
		hold := w.Config.Hold()
		shortest, longest := time.Hour, time.Duration(0)
		for random := range uint64(100) {
			w, f := queueing()
			w.Begin(true)
			f.Queued, f.Elapsed = 0b11111, trip
			w.Next(0, f, random*uint64(time.Millisecond/3))
			wait := w.Woken(1)
			shortest, longest = min(shortest, wait), max(longest, wait)
		}
		assert.Greater(t, longest, 2*shortest, "trip %v", trip)
		assert.GreaterOrEqual(t, shortest, min(patience/2*trip, hold/6))
		assert.LessOrEqual(t, longest, hold/2, "while it is still set aside")
	}
}

func TestFewQueuesDoNotKeepAWaiterFromAsking(t *testing.T) {
	w, f := queueing()
	w.Begin(true)
	f.Queued = 0b00011
	wait, _ := w.Next(0, f, 0)
	assert.LessOrEqual(t, wait, 4*time.Millisecond, "backoff as where there is no queue")
	assert.Positive(t, w.Woken(0))
	assert.Zero(t, w.Woken(1), "all that could call have")
}

func TestHoldIsShortUnlessOrderIsStrict(t *testing.T) {
	w, _ := queueing()
	assert.Less(t, w.Config.Hold(), w.Config.Poll())
	w.Config.Strict = true
	assert.Greater(t, w.Config.Hold(), 2*w.Config.Poll(), "the waiter asks by itself before")
}

func TestAnOutageCountsFromJoining(t *testing.T) {
	require.Zero(t, OutageSince(0, 7))
	require.EqualValues(t, 9, OutageSince(9, 7))
	require.EqualValues(t, 7, OutageSince(5, 7))
}
