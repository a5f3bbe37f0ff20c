package protocol

import "time"

// Instant is a reading of the client's own clock, one that counts suspended
// time: nanoseconds since some fixed origin. Zero is before everything.
type Instant int64

// Add gives the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Sub gives the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }

// MaxNodes bounds the size of a quorum group.
const MaxNodes = 64

// MaxToken bounds hints and tokens; see redlock.MaxFence.
const MaxToken = 1<<53 - 1

// clockGrain is what validity gives up beyond drift: Redlock's two milliseconds
// for the grain of the nodes' expiry and for clocks that are stepped a little.
const clockGrain = 2 * time.Millisecond

// Config is what all attempts of a Locker share. It does not change.
type Config struct {
	Nodes       int
	Quorum      int           // votes needed, at least Majority(Nodes)
	NodeTimeout time.Duration // a node that has not answered by then has not voted
	MaxTTL      time.Duration // no client of these nodes asks for longer
	MinValidity time.Duration // what must be left when the lease is handed over
	MaxHold     time.Duration // the lease ends then, renewed or not; zero for never
	DriftPPM    int64         // how much a node's clock may outrun ours, in millionths
	NoRenew     bool
	RetryMin    time.Duration
	RetryMax    time.Duration
	Queues      int           // how many nodes keep queues for waiters
	Strict      bool          // a freed key is set aside for its oldest waiter until that one has surely asked
	OutageWait  time.Duration // how long to go on without quorum; negative for ever
	Without     Defence       // the simulator's: defences left out
}

// Majority is the least number of nodes of which any two sets share a node.
func Majority(nodes int) int { return nodes/2 + 1 }

// Margin is what is taken off a TTL before the holder relies on it: the drift
// allowance and the clock grain, rounded up.
func (c *Config) Margin(ttl time.Duration) time.Duration {
	if c.without(DriftMargin) {
		return 0
	}
	const million = 1_000_000
	ppm := time.Duration(c.DriftPPM)
	// Split so that the product stays in range for TTLs of months.
	drift := ttl/million*ppm + (ttl%million*ppm+million-1)/million
	return drift + clockGrain
}

// ahead is how far a counter may be ahead of a client's clock, in microseconds, for its
// leases to take tokens to spare, which would take it further. If a node loses its
// counters, it votes after MaxTTL, and the clocks have to be ahead of them then.
func (c *Config) ahead() uint64 { return uint64((c.MaxTTL / 4).Microseconds()) }

// renewEvery is the period of renewals, a third of the TTL: two of them may
// fail and the third still comes in time.
func renewEvery(ttl time.Duration) time.Duration { return max(1, ttl/3) }

// Poll is about how often a waiter with a place in the queue asks by itself, as a
// wake-up may have been lost: within twice that.
func (c *Config) Poll() time.Duration { return max(c.RetryMax, c.NodeTimeout) }

// Hold is how long a freed key is set aside for a waiter: a few round trips, and
// time for its process to be scheduled.
func (c *Config) Hold() time.Duration {
	if c.Strict {
		return 4 * c.Poll()
	}
	return max(20*time.Millisecond, c.NodeTimeout/4)
}
