package redlock

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Defaults of Options.
const (
	DefaultTTL         = 10 * time.Second
	DefaultDriftFactor = 0.01
	DefaultRetryMin    = 2 * time.Millisecond
	DefaultRetryMax    = 250 * time.Millisecond
	DefaultAttempts    = 64

	// DefaultLocalHandoffs is where more of them no longer save much: the nodes
	// are asked once for so many sections.
	DefaultLocalHandoffs = 256
)

// maxMaxTTL keeps durations far from overflow.
const maxMaxTTL = 365 * 24 * time.Hour

// Options configures a Locker. The zero value works; every zero field has the
// default given. All clients of the same nodes must agree on MaxTTL, and should
// agree on the rest.
type Options struct {
	// TTL is asked of the nodes: after that long without a renewal they free
	// the key by themselves. Default 10 s.
	TTL time.Duration

	// MaxTTL is the longest TTL that any client of these nodes asks for. A node
	// that restarted without its data does not vote for that long. Default: TTL,
	// but at least 10 s.
	MaxTTL time.Duration

	// MinValidity is how much validity a lease has at least when it is handed
	// over; an attempt that took longer has failed. Default half of TTL, or of
	// MaxHold if that is set and shorter.
	MinValidity time.Duration

	// NodeTimeout is how long an operation waits for a node. It bounds how long
	// an operation takes when too many nodes hang, not when a minority does.
	// Default TTL/20, but at least 100 ms and at most 250 ms, and never above
	// TTL/4.
	NodeTimeout time.Duration

	// MaxHold ends every lease after that time, renewed or not, counted from
	// the start of its acquisition. It leaves room for MinValidity and NodeTimeout
	// together, or hardly an attempt could win. Default: no limit.
	MaxHold time.Duration

	// RetryMin and RetryMax bound the random pause of Lock between two
	// attempts. It starts at about one round trip and grows from there. Default
	// 2 ms and 250 ms; where round trips are long, the pauses are longer.
	RetryMin, RetryMax time.Duration

	// OutageWait is how long Lock goes on trying while too many nodes fail,
	// before it returns ErrNoQuorum: long enough to ride out a blip, short
	// enough to tell of an outage. For a caller who stood in line behind others of
	// this Locker it counts from when those began to find no quorum. Default
	// NodeTimeout; negative means until the context ends. A node that is known to
	// vote again soon, such as one that was just restarted, is waited for in any
	// case.
	OutageWait time.Duration

	// DriftFactor is how much faster than ours a node's clock may run, as a
	// fraction. TTL times DriftFactor, and 2 ms, are taken off every lease.
	// Default 0.01, a hundred times what clocks are off by in practice.
	DriftFactor float64

	// Quorum is the number of votes needed. Default and least: the majority,
	// N/2+1.
	Quorum int

	// NoRenew switches renewal off: a lease ends after its validity unless
	// Lease.Extend is called, and asks no node meanwhile. By default it is renewed
	// every TTL/3 until it is released or lost.
	NoRenew bool

	// Attempts is how many attempts of the Locker may be asking the nodes at the
	// same time; more wait their turn. It keeps requests from queueing where the
	// waiting would eat up their validity, behind the connections to a server.
	// Leases that are held do not count. Default 64, or 4096 if all nodes are
	// Submitters, which have no such queues.
	Attempts int

	// LocalHandoffs is how often a lease may be passed on by Unlock to the next
	// goroutine that waits for the key in this Locker, without asking the nodes.
	// Each gets a lease and a token of its own. It ends early after 100 ms, or 32
	// times as long as it took to win the lease, so that other processes have their
	// turn; and in any case when the validity that the first one was given runs
	// out. Where too few nodes keep queues of waiters, the Locker then also leaves
	// the key alone for a quarter of that time, RetryMax/2 at most. Default 256;
	// negative for never.
	//
	// At most 4096: a lock that others wait for reserves so many tokens, used or
	// not, and the key's counter must not outrun the clock, from which it is made
	// up again where nodes lose it.
	LocalHandoffs int

	// StrictOrder has nodes that keep queues (Redis, ZooKeeper, memory) set a freed
	// key aside for the process that has waited for longest until it takes the key
	// or its place lapses, rather than for a few round trips. The order is then
	// first come, first served, by the processes' wall clocks, also when a
	// process is slow to wake; the price is that one which is gone may hold up
	// the others each time for four times the longer of RetryMax and NodeTimeout,
	// about a second with the defaults.
	StrictOrder bool

	// Clock is the time. Default SystemClock.
	Clock Clock

	// Random is where owner ids and pauses come from; it is read by many
	// goroutines at once. Default crypto/rand.Reader.
	Random io.Reader

	// Observer is told what happens. Default: nobody.
	Observer Observer
}

// LockOptions are the settings of single locks, for Locker.With. A zero field
// leaves the Locker's own.
type LockOptions struct {
	TTL         time.Duration // at most the Locker's MaxTTL
	MinValidity time.Duration
	MaxHold     time.Duration
	NoRenew     bool
}

// with lays the settings of single locks over a Locker's own.
func (o Options) with(l LockOptions) (Options, error) {
	if l.TTL < 0 || l.MinValidity < 0 || l.MaxHold < 0 {
		return o, errors.New("redlock: LockOptions must not be negative")
	}
	if l.TTL > 0 {
		o.TTL = l.TTL
	}
	if l.MinValidity > 0 {
		o.MinValidity = l.MinValidity
	}
	if l.MaxHold > 0 {
		o.MaxHold = l.MaxHold
	}
	o.NoRenew = o.NoRenew || l.NoRenew
	return o, nil
}

// ofLocks is what single locks may have otherwise.
func (o Options) ofLocks() LockOptions {
	return LockOptions{TTL: o.TTL, MinValidity: o.MinValidity, MaxHold: o.MaxHold, NoRenew: o.NoRenew}
}

// resolve fills in the defaults and checks that what comes of it is safe.
func (o Options) resolve(group []Node) (Options, protocol.Config, error) {
	for _, check := range []func() error{o.checkSigns, o.checkLengths, o.checkNumbers} {
		if err := check(); err != nil {
			return o, protocol.Config{}, err
		}
	}
	nodes := len(group)
	o.fill(group)
	cfg := protocol.Config{
		Nodes:       nodes,
		Quorum:      o.Quorum,
		NodeTimeout: o.NodeTimeout,
		MaxTTL:      o.MaxTTL,
		MinValidity: o.MinValidity,
		MaxHold:     o.MaxHold,
		DriftPPM:    int64(math.Ceil(o.DriftFactor * 1e6)),
		NoRenew:     o.NoRenew,
		RetryMin:    o.RetryMin,
		RetryMax:    o.RetryMax,
		OutageWait:  o.OutageWait,
		Strict:      o.StrictOrder,
		Queues:      countWakers(group),
	}
	return o, cfg, o.checkRelations(&cfg)
}

func (o *Options) checkSigns() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", o.TTL}, {"MaxTTL", o.MaxTTL}, {"MinValidity", o.MinValidity}, {"NodeTimeout", o.NodeTimeout},
		{"MaxHold", o.MaxHold}, {"RetryMin", o.RetryMin}, {"RetryMax", o.RetryMax},
	} {
		if d.value < 0 {
			return fmt.Errorf("redlock: %s is %v: it must not be negative; zero gives the default", d.name, d.value)
		}
	}
	return nil
}

// checkLengths refuses durations that would overflow where they are added up.
func (o *Options) checkLengths() error {
	for _, d := range []struct {
		name  string
		value time.Duration
		hint  string
	}{
		{"TTL", o.TTL, "leases are renewed while they are held"},
		{"MaxTTL", o.MaxTTL, "leases are renewed while they are held"},
		{"MinValidity", o.MinValidity, "zero gives the default"},
		{"NodeTimeout", o.NodeTimeout, "zero gives the default"},
		{"MaxHold", o.MaxHold, "zero is for no limit"},
		{"RetryMin", o.RetryMin, "zero gives the default"},
		{"RetryMax", o.RetryMax, "zero gives the default"},
		{"OutageWait", o.OutageWait, "negative is for ever"},
	} {
		if d.value > maxMaxTTL {
			return fmt.Errorf("redlock: %s is %v: use at most %v; %s", d.name, d.value, maxMaxTTL, d.hint)
		}
	}
	return nil
}

func (o *Options) checkNumbers() error {
	if o.Attempts < 0 || o.Quorum < 0 {
		return fmt.Errorf("redlock: Attempts is %d and Quorum %d: they must not be negative; zero gives the default", o.Attempts, o.Quorum)
	}
	if o.LocalHandoffs > protocol.MaxSpare {
		return fmt.Errorf("redlock: LocalHandoffs is %d: use at most %d; a lock reserves so many tokens, and they must not outrun the clock", o.LocalHandoffs, protocol.MaxSpare)
	}
	if !(o.DriftFactor >= 0 && o.DriftFactor < 1) { // NaN is neither
		return fmt.Errorf("redlock: DriftFactor is %v: it must be at least 0 and below 1; 0 gives the default", o.DriftFactor)
	}
	return nil
}

func (o *Options) fill(group []Node) {
	setDefault(&o.TTL, DefaultTTL)
	setDefault(&o.MaxTTL, max(o.TTL, DefaultTTL))
	if o.MaxHold > 0 {
		setDefault(&o.MinValidity, min(o.TTL, o.MaxHold)/2)
	}
	setDefault(&o.MinValidity, o.TTL/2)
	setDefault(&o.NodeTimeout, min(o.TTL/4, max(100*time.Millisecond, min(o.TTL/20, 250*time.Millisecond))))
	setDefault(&o.RetryMax, max(o.RetryMin, DefaultRetryMax))
	setDefault(&o.RetryMin, min(o.RetryMax, DefaultRetryMin))
	setDefault(&o.OutageWait, o.NodeTimeout)
	setDefault(&o.DriftFactor, DefaultDriftFactor)
	setDefault(&o.Quorum, protocol.Majority(len(group)))
	setDefault(&o.LocalHandoffs, DefaultLocalHandoffs)
	attempts := 4096
	for _, n := range group {
		if _, is := n.(Submitter); !is {
			attempts = DefaultAttempts
		}
	}
	setDefault(&o.Attempts, attempts)
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
}

func (o *Options) checkRelations(cfg *protocol.Config) error {
	margin := cfg.Margin(o.TTL)
	switch {
	case o.Quorum < protocol.Majority(cfg.Nodes):
		return fmt.Errorf("redlock: Quorum is %d of %d nodes: two owners could each have one; use at least %d", o.Quorum, cfg.Nodes, protocol.Majority(cfg.Nodes))
	case o.Quorum > cfg.Nodes:
		return fmt.Errorf("redlock: Quorum is %d, but there are only %d nodes", o.Quorum, cfg.Nodes)
	case o.TTL > o.MaxTTL:
		return fmt.Errorf("redlock: TTL %v is above MaxTTL %v: lower TTL, or raise MaxTTL on every client of these nodes", o.TTL, o.MaxTTL)
	case margin >= o.TTL:
		return fmt.Errorf("redlock: TTL %v is used up by the %v taken off for clock drift: raise TTL or lower DriftFactor (%v)", o.TTL, margin, o.DriftFactor)
	case o.NodeTimeout >= o.TTL:
		return fmt.Errorf("redlock: NodeTimeout %v is not below TTL %v: lower NodeTimeout or raise TTL", o.NodeTimeout, o.TTL)
	case margin+o.NodeTimeout+o.MinValidity > o.TTL:
		return fmt.Errorf("redlock: TTL %v is too short for NodeTimeout %v, MinValidity %v and %v of clock drift together: raise TTL or lower the others", o.TTL, o.NodeTimeout, o.MinValidity, margin)
	case o.MaxHold > 0 && o.MaxHold < o.MinValidity+o.NodeTimeout:
		return fmt.Errorf("redlock: MaxHold %v is too short for MinValidity %v and NodeTimeout %v together: raise MaxHold or lower the others", o.MaxHold, o.MinValidity, o.NodeTimeout)
	case o.RetryMin > o.RetryMax:
		return fmt.Errorf("redlock: RetryMin %v is above RetryMax %v", o.RetryMin, o.RetryMax)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
