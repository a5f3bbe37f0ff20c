package protocol

import (
	"math/bits"
	"time"
)

// Waiter decides, for one caller who waits for a key, whether a failed attempt
// is followed by another and when. Its zero value with a Config is ready.
//
// Where nodes keep queues, a waiter sleeps until so many of them have set the key
// aside for it that it can win: then one waiter wakes and the others sleep on.
// The holder's remaining time bounds the sleep, and a slow poll, since a wake-up
// may get lost. Elsewhere it knows only time: backoff from one round trip upward.
type Waiter struct {
	Config *Config

	tries     int
	slept     int // of them, those that were followed by a sleep until called
	counter   uint64
	trip      time.Duration // how long the latest attempt took
	random    uint64        // drawn with it
	outage    bool
	since     Instant // the outage began
	contended bool    // others had the key
	queued    uint64  // nodes that keep the waiter's place
	woken     uint64  // nodes that called since the latest attempt began
}

// Begin is called before each attempt. It says whether nodes that refuse shall
// keep the waiter's place: not before others are known to want the key, as it
// makes the nodes work more; and not once enough nodes called, since the attempt
// will most likely win, and would leave places behind that nobody waits at.
func (w *Waiter) Begin(contended bool) (queue bool) {
	w.contended = w.contended || contended
	queue = w.contended && w.Config.Queues > 0 && !w.called()
	w.woken = 0
	return queue
}

// Hint is the hint for the next attempt: above every counter seen so far, and
// near the wall clock in microseconds, so that the nodes' counters agree almost
// always and a counter that was lost with its node does not take tokens back.
func (w *Waiter) Hint(wallMicros int64) uint64 {
	return min(max(w.counter+1, uint64(max(0, wallMicros))), MaxToken)
}

// Spare is how many tokens to spare the next attempt shall ask for, of those wanted; see
// Config.ahead.
func (w *Waiter) Spare(wallMicros int64, want uint64) uint64 {
	if w.counter > uint64(max(0, wallMicros))+w.Config.ahead() {
		return 0
	}
	return want
}

// Next says how long to wait until the next attempt, or that there shall be
// none. random is a uniform random number.
//
// Contention is waited out for ever. An outage is waited out for OutageWait, or
// for as long as it is known to heal by itself.
func (w *Waiter) Next(now Instant, f Failure, random uint64) (wait time.Duration, again bool) {
	w.counter = max(w.counter, f.Counter)
	if f.Elapsed > stoodStill*w.Config.NodeTimeout && !w.Config.without(BoundedRoundTrip) {
		f.Elapsed = 0
	}
	w.trip, w.random = f.Elapsed, random
	if f.Reason == Contended || f.HealsIn > 0 {
		w.outage = false
	} else if !w.outlasts(now, f) {
		return 0, false
	}
	w.queued = f.Queued
	w.tries++
	switch {
	case w.Config.Queues > 0 && f.Reason == Contended && !w.contended:
		w.contended = true // ask at once for places in the queues
		return 0, true
	case w.called():
		return 0, true
	case bits.OnesCount64(w.queued) >= w.Config.Quorum:
		// What was set aside and not taken, since the call got lost, is free after a
		// Hold. If it was not that, there is the less hurry. But where all calls get
		// lost a short sleep, now and then, is what finds the key still set aside.
		poll := min(w.Config.Poll(), w.Config.Hold()<<min(w.slept, 16))
		w.slept++
		wait = w.Config.Hold()/4 + spread(random, 2*poll)
	default:
		wait = w.backoff(random)
	}
	if w.woken != 0 {
		wait = min(wait, w.partly()) // some nodes called meanwhile
	}
	if f.Remaining > 0 {
		// Not before the holder's time is over would be too late if it unlocks;
		// much after it would be idle. A spread keeps waiters apart there too.
		wait = min(wait, f.Remaining+spread(random, w.floor()))
	}
	if f.HealsIn > 0 {
		// No attempt can win before, unless another node comes back meanwhile.
		wait = min(max(wait, healingPoll), f.HealsIn+spread(random, w.floor()))
	}
	return wait, true
}

// Woken is told of a node's call, at any time. It says after how long at the
// latest the next attempt shall begin.
//
// Fewer nodes than a quorum call where another waiter is older on the others, or
// has won already on those: an attempt at once would fail, and only keep the nodes
// busy. But a call may have got lost, or a node its queue; and those that called
// serve nobody until the waiter has asked. So it asks a little later, while the key
// is still set aside.
//
// Where waiters got some nodes each, all give them up, and the oldest is first in
// the queues of all that it had not got itself: these are a quorum, since it had
// none. So it is called, and age settles it in two round trips.
func (w *Waiter) Woken(node int) time.Duration {
	w.woken |= 1 << node
	if w.called() {
		return 0
	}
	return w.partly()
}

// partly is for how long a waiter waits for more calls, once it has some. Two that
// have some each pass them to each other if they ask at the same time, and so on:
// chance sets them apart.
func (w *Waiter) partly() time.Duration {
	mean := min(w.Config.Hold()/3, max(2*w.Config.RetryMin, patience*w.trip))
	return mean/2 + spread(w.random, mean)
}

// called says that enough nodes called for an attempt to win: a quorum, or all
// that keep the waiter's place if those are fewer.
func (w *Waiter) called() bool {
	needed := min(max(1, bits.OnesCount64(w.queued)), w.Config.Quorum)
	return bits.OnesCount64(w.woken) >= needed
}

// stoodStill is how many NodeTimeouts an attempt may take, of two trips that are
// waited for no longer than one each. If it took more, the process did not run for
// most of it, or its machine was suspended: that says nothing about the nodes.
const stoodStill = 4

// healingPoll is how often a waiter asks while it waits for barred nodes.
const healingPoll = time.Second

// outlasts says that an outage is still short enough to be waited out.
func (w *Waiter) outlasts(now Instant, f Failure) bool {
	if !w.outage {
		w.outage, w.since = true, now.Add(-f.Elapsed)
	}
	return w.Config.OutageWait < 0 || now.Sub(w.since) < w.Config.OutageWait
}

// Outage is since when the waiter has found no quorum; zero if it has.
func (w *Waiter) Outage() Instant {
	if !w.outage {
		return 0
	}
	return w.since
}

// OutageSince is since when an outage counts for a waiter who joined others that have
// found no quorum since an instant, zero for none: nobody's wait began before it came.
func OutageSince(since, joined Instant) Instant {
	if since == 0 {
		return 0
	}
	return max(since, joined)
}

// TakeOver is told before the first attempt since when others, whom the waiter
// waited for, have found no quorum. If it finds none either, that is one outage,
// and not told to so many waiters one after another.
func (w *Waiter) TakeOver(since Instant) {
	w.outage, w.since = since != 0, since
}

// floor is the shortest wait: a round trip, but not below RetryMin.
func (w *Waiter) floor() time.Duration { return max(w.Config.RetryMin, w.trip) }

// patience is how many round trips apart a waiter's attempts are on average, at
// the least, once it has waited for long. Waiters that ask more often than that
// keep the nodes busy with refusals, and each other from a majority.
const patience = 8

// backoff draws from a window that doubles with each try, up to RetryMax; or
// further, where a round trip is long: then the nodes are far away, or have too
// much to do.
func (w *Waiter) backoff(random uint64) time.Duration {
	floor := w.floor()
	window := max(w.Config.RetryMax, 2*patience*floor) - floor
	if shift := min(w.tries-1, 20); floor<<shift>>shift == floor {
		window = min(window, floor<<shift)
	}
	return floor + spread(random, window)
}

// spread scales a random number to [0, d).
func spread(random uint64, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(random % uint64(d))
}
