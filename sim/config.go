package sim

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/protocol"
)

// Config is a world, the work that is done in it, and the faults that befall it.
// The zero value of a field is its default; zero values throughout are a healthy
// world of three nodes and two clients. Equal Configs give equal runs.
type Config struct {
	Name string
	Seed uint64

	Nodes   int    // default 3
	Clients int    // default 2
	Kinds   []Kind // of the nodes, over and over; default TTLServer

	// The options of redlock.Options by the same names; the same defaults.
	TTL, MaxTTL, MinValidity, NodeTimeout, MaxHold time.Duration
	RetryMin, RetryMax, OutageWait                 time.Duration
	DriftPPM                                       int64 // DriftFactor in millionths
	Quorum                                         int
	NoRenew                                        bool

	// One way through the network takes Latency, and Jitter more on average,
	// exponentially distributed.
	Latency, Jitter        time.Duration
	LossPPM, DuplicatesPPM int64 // of messages, in millionths
	Ordered                bool  // messages of one link do not overtake each other
	RatesPPM               int64 // each clock's rate is drawn from that much either way
	WallSpread             time.Duration
	TakesLong              time.Duration // from the win until the user runs, on average
	NoQueues               bool          // no node keeps queues of waiters
	DeafPPM                int64         // how many of the nodes' calls to waiters get lost, in millionths
	Strict                 bool          // redlock.Options.StrictOrder
	Handoffs               int           // redlock.Options.LocalHandoffs; negative for none
	Work                   Work          // of every client
	Plans                  []Work        // of each client, instead of Work
	Alias                  bool          // the last node is the first, under another name
	NoDate                 bool          // the clients' wall clocks begin at zero, as after a boot without a battery
	Young                  bool          // nodes have just started when the world begins
	Members                uint64        // the nodes that clients know at first, a bit each; default all
	Without                Defence
	Faults                 []Fault
	HealAt                 time.Duration // all faults end then, and everyone must get the lock again
	Limit                  time.Duration // of the world's time; default an hour
	MaxEvents              int           // default 10 million
	Record                 bool          // keep what happened, for a report
	StopEarly              bool          // at the first breach within the assumptions
	Bytes                  []byte        // a fuzzer's choices, before the seed's
	Tape                   []byte        `json:"-"` // all choices, instead of the seed's; see Report.Tape
	KeepTape               bool          `json:"-"`
}

// Work is what a client's program does with the lock, over and over. Durations
// are means of exponential distributions, unless Exact.
type Work struct {
	Start      time.Duration // before it first asks; always exact
	Think      time.Duration // between unlocking and asking again
	Hold       time.Duration
	WriteEvery time.Duration // while it holds, it writes to the resource so often
	Times      int           // how many leases it wants; default: no end
	Exact      bool
	ExtendBy   time.Duration // it extends its lease by that, once
	Patience   time.Duration // it stops waiting after so long
	Idle       bool          // it does nothing by itself
	Users      int           // how many goroutines of the client want the lock; default 1
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// fill sets the defaults, those of redlock.Options among them.
func (c *Config) fill() {
	setDefault(&c.Nodes, 3)
	setDefault(&c.Clients, 2)
	setDefault(&c.TTL, redlock.DefaultTTL)
	setDefault(&c.MaxTTL, max(c.TTL, redlock.DefaultTTL))
	setDefault(&c.MinValidity, c.TTL/2)
	setDefault(&c.NodeTimeout, min(c.TTL/4, max(50*time.Millisecond, min(c.TTL/20, 250*time.Millisecond))))
	setDefault(&c.RetryMax, max(c.RetryMin, redlock.DefaultRetryMax))
	setDefault(&c.RetryMin, min(c.RetryMax, redlock.DefaultRetryMin))
	setDefault(&c.OutageWait, c.NodeTimeout)
	setDefault(&c.DriftPPM, int64(redlock.DefaultDriftFactor*million))
	setDefault(&c.Quorum, protocol.Majority(c.Nodes))
	setDefault(&c.Latency, time.Millisecond)
	setDefault(&c.TakesLong, c.Latency/16)
	setDefault(&c.Handoffs, redlock.DefaultLocalHandoffs)
	setDefault(&c.Limit, time.Hour)
	setDefault(&c.MaxEvents, 10*million)
	setDefault(&c.Work.Hold, 10*c.Latency)
	if len(c.Kinds) == 0 {
		c.Kinds = []Kind{TTLServer}
	}
}

// check refuses a world that cannot be.
func (c *Config) check() error {
	switch {
	case c.Nodes < 1 || c.Nodes > protocol.MaxNodes:
		return fmt.Errorf("sim: %d nodes: use 1 to %d", c.Nodes, protocol.MaxNodes)
	case c.Clients < 1 || c.Clients > 1000:
		return fmt.Errorf("sim: %d clients: use 1 to 1000", c.Clients)
	case c.TTL > c.MaxTTL && !c.Without.Has(AgreedMaxTTL):
		return fmt.Errorf("sim: TTL %v is above MaxTTL %v", c.TTL, c.MaxTTL)
	case bits.Len64(c.Members) > c.Nodes:
		return fmt.Errorf("sim: members %s: there are only %d nodes", nodeNames(c.Members), c.Nodes)
	case c.NodeTimeout >= c.TTL:
		return fmt.Errorf("sim: NodeTimeout %v is not below TTL %v", c.NodeTimeout, c.TTL)
	}
	if c.Tape != nil {
		if _, err := unpackTape(c.Tape); err != nil {
			return err
		}
	}
	for _, f := range c.Faults {
		if err := f.check(c); err != nil {
			return err
		}
	}
	return nil
}

// protocolConfig is what the Locker would make of its options.
func (c *Config) protocolConfig() protocol.Config {
	p := protocol.Config{
		Nodes:       c.Nodes,
		Quorum:      c.Quorum,
		NodeTimeout: c.NodeTimeout,
		MaxTTL:      c.MaxTTL,
		MinValidity: c.MinValidity,
		MaxHold:     c.MaxHold,
		DriftPPM:    c.DriftPPM,
		NoRenew:     c.NoRenew,
		RetryMin:    c.RetryMin,
		RetryMax:    c.RetryMax,
		OutageWait:  c.OutageWait,
		Strict:      c.Strict,
		Queues:      c.queues(),
		Without:     protocol.Defence(c.Without),
	}
	if c.Without.Has(MajorityQuorum) {
		p.Quorum = max(1, p.Quorum-1)
	}
	if c.Without.Has(AgreedMaxTTL) {
		p.MaxTTL = c.TTL / 8
	}
	return p
}

// queues counts the nodes that keep queues of waiters.
func (c *Config) queues() int {
	n := 0
	for i := range c.Nodes {
		if !c.NoQueues && kinds[c.Kinds[i%len(c.Kinds)]].queues {
			n++
		}
	}
	return n
}

// work is the plan of a client.
func (c *Config) work(client int) Work {
	if client < len(c.Plans) {
		return c.Plans[client]
	}
	return c.Work
}
