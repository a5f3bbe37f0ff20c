package sim

import "math"

// Time is true time: nanoseconds since the world began. Nobody in the world can
// read it; they have clocks.
type Time int64

const never = Time(math.MaxInt64 / 4)

const million = 1_000_000

// clock shows local time, which runs at a rate of its own, can be set, and can
// stand still. It reckons in integers, so that it shows the same everywhere.
type clock struct {
	since   Time  // the rest holds since then
	shown   int64 // what it showed at that moment
	ppm     int64 // how much faster than true time it runs, in millionths
	stopped bool
}

// read is what the clock shows at a moment not before the last change.
func (c *clock) read(now Time) int64 {
	if c.stopped {
		return c.shown
	}
	passed := int64(now - c.since)
	if c.ppm == 0 {
		return c.shown + passed
	}
	return c.shown + passed + scale(passed, c.ppm)
}

// when is the first moment, from now on, at which the clock shows at least local
// if nobody touches it meanwhile.
func (c *clock) when(now Time, local int64) Time {
	left := local - c.read(now)
	if left <= 0 {
		return now
	}
	if c.stopped || left > int64(never) {
		return never
	}
	if c.ppm == 0 {
		return now + Time(left)
	}
	// Divide first, so that times of months stay in range.
	rate := million + c.ppm
	at := now + Time(left/rate*million+left%rate*million/rate)
	for c.read(at) < local {
		at++
	}
	for at > now && c.read(at-1) >= local {
		at--
	}
	return at
}

// rebase lets a change begin now.
func (c *clock) rebase(now Time) { c.since, c.shown = now, c.read(now) }

func (c *clock) step(now Time, by int64) {
	c.rebase(now)
	c.shown += by
}

func (c *clock) setRate(now Time, ppm int64) {
	c.rebase(now)
	c.ppm = ppm
}

func (c *clock) stop(now Time, stopped bool) {
	c.rebase(now)
	c.stopped = stopped
}

// scale is d in millionths times ppm, without overflow.
func scale(d, ppm int64) int64 { return d/million*ppm + d%million*ppm/million }
