package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// draw is what a swarm's seeds are drawn with.
type draw struct{ chooser }

func (d *draw) pick(n int) int { return int(d.below(0, int64(n))) }

func (d *draw) one(in int) bool { return d.pick(in) == 0 }

func of[T any](d *draw, values ...T) T { return values[d.pick(len(values))] }

// scaled draws a duration between two, evenly over the decades.
func (d *draw) scaled(from, to time.Duration) time.Duration {
	steps := 0
	for x := from; x < to; x *= 2 {
		steps++
	}
	at := from << d.pick(steps+1)
	return min(to, at+time.Duration(d.below(0, int64(at)+1)))
}

// classes are the kinds of faults that a seed may have; each seed has some of
// them only, since many at once hide each other.
type classes struct {
	pauses, suspends, crashes, amnesia, failovers, back, leaps, drifts, cuts, holds, slow, edges bool
}

// Draw makes the world of a swarm's seed: its size, its scales over several
// decades, which classes of faults it has, and the faults. The faults stay within
// the assumptions, but that some seeds let nodes' clocks leap: those must keep
// tokens in order, and may have two holders.
func Draw(seed uint64) Config {
	d := draw{newChooser(mix(seed, 0x5EED), 1, nil)}
	c := Config{
		Seed:    seed,
		Nodes:   of(&d, 1, 3, 3, 3, 3, 5, 5, 7),
		Clients: of(&d, 1, 2, 2, 2, 3, 3, 5),
		TTL: of(&d, 20*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond, time.Second, time.Second,
			3*time.Second, 10*time.Second, 30*time.Second),
		DriftPPM:  10_000,
		NoRenew:   d.one(3),
		Ordered:   d.one(3),
		StopEarly: true,
		MaxEvents: 100_000,
	}
	c.MaxTTL = c.TTL * of(&d, time.Duration(1), 1, 2, 4)
	c.RatesPPM = of(&d, int64(0), c.DriftPPM/4)
	c.WallSpread = of(&d, 0, c.MaxTTL/100, c.MaxTTL*9/20)
	c.OutageWait = of(&d, 0, c.TTL, -1)
	if d.one(4) {
		c.MaxHold = c.TTL * of(&d, time.Duration(1), 3)
	}
	d.kinds(&c)
	d.network(&c)
	d.work(&c)
	cl := d.classes()
	if cl.leaps {
		cl.amnesia = false // a node could hide its restart by its clock: see kleppmann-crash-clock
	}
	// Hints that are no help are good for nothing but for finding bugs in what
	// tokens rest on without them. Counters that are lost do need hints.
	c.NoDate = !cl.amnesia && d.one(2)
	c.Alias = c.Nodes > 1 && d.one(12)
	for range of(&d, 2, 6, 15, 30) {
		if f, ok := d.fault(&c, &cl); ok {
			c.Faults = append(c.Faults, f)
		}
	}
	if cl.edges {
		d.edges(&c)
	}
	d.waiting(&c)
	return c
}

// waiting draws how clients wait for each other, and pass leases on.
func (d *draw) waiting(c *Config) {
	c.NoQueues = d.one(4)
	c.Strict = d.one(6)
	c.DeafPPM = of(d, int64(0), 0, 200_000, million)
	if d.one(2) {
		c.Work.Users = of(d, 2, 3, 5)
		c.Handoffs = of(d, -1, 1, 3, 64)
	}
}

func (d *draw) kinds(c *Config) {
	if d.one(3) {
		for range c.Nodes {
			c.Kinds = append(c.Kinds, of(d, TTLServer, LeaseRow, EphemeralNode, SessionLock, MemoryNode))
		}
	}
}

func (d *draw) network(c *Config) {
	c.Latency = d.scaled(20*time.Microsecond, c.TTL/32)
	c.Jitter = of(d, 0, c.Latency/4, c.Latency, 4*c.Latency)
	if d.one(2) {
		c.LossPPM = of(d, int64(1_000), 20_000, 200_000)
	}
	if d.one(2) {
		c.DuplicatesPPM = of(d, int64(1_000), 20_000, 200_000)
	}
	c.TakesLong = of(d, c.Latency/16, c.Latency)
}

func (d *draw) work(c *Config) {
	w := &c.Work
	w.Think = of(d, c.Latency, 10*c.Latency, 30*c.Latency)
	w.Hold = of(d, 2*c.Latency, 2*c.Latency, 2*c.Latency, 10*c.Latency, c.TTL/4, c.TTL*5/4)
	w.WriteEvery = max(w.Hold/2, c.Latency)
	w.Exact = d.one(8)
	if d.one(4) {
		w.ExtendBy = min(c.MaxTTL, c.TTL*of(d, time.Duration(1), 2))
	}
	if d.one(4) {
		w.Patience = of(d, 3*c.Latency, c.TTL/2)
	}
	cycle := w.Think/time.Duration(c.Clients) + w.Hold + 4*(c.Latency+c.Jitter)
	c.RetryMax = of(d, 250*time.Millisecond, max(c.TTL/8, 2*time.Millisecond))
	c.HealAt = max(3*c.TTL, min(10*c.TTL, 60*cycle))
}

func (d *draw) classes() classes {
	return classes{
		pauses: d.one(2), suspends: d.one(4), crashes: d.one(2), amnesia: d.one(2), failovers: d.one(2),
		back: d.one(6), leaps: d.one(10), drifts: d.one(3), cuts: d.one(2), holds: d.one(3), slow: d.one(3), edges: d.one(2),
	}
}

// fault draws one fault of the seed's classes.
func (d *draw) fault(c *Config, cl *classes) (Fault, bool) {
	f := d.when(c)
	f.For = d.scaled(c.Latency, 2*c.TTL)
	f.Client, f.Node = none, none
	client, node := d.pick(c.Clients), d.pick(c.Nodes)
	on := false
	switch d.pick(10) {
	case 0:
		f.Verb, f.Client, on = Pause, client, cl.pauses
		if d.one(3) {
			f.Client, f.Node = none, node
		}
	case 1:
		f.Verb, f.Client, on = Suspend, client, cl.suspends
		if d.one(3) {
			f.Client, f.Node = none, node
		}
	case 2:
		f.Verb, f.Client, on = Crash, client, cl.crashes
	case 3:
		f.Verb, f.Node, on = Crash, node, cl.amnesia
		if d.one(3) {
			f.Node = all
		}
		f.Losing = d.losing(c, f.Node)
	case 4:
		f.Verb, f.Node, f.For = Failover, node, 0
		f.Losing = d.losing(c, node)
		on = cl.failovers && cl.amnesia && f.Losing > 0
		if d.one(3) {
			f.On, f.OnClient, f.OnCount, f.At = of(d, "confirms", "passes"), client, 1+d.pick(2), 0
		}
	case 5:
		f.Verb, f.Node, f.For, on = Jump, node, 0, cl.back
		f.By = -d.scaled(time.Millisecond, c.MaxTTL)
		if cl.leaps {
			f.By, on = -f.By, true
		} else if !cl.amnesia && d.one(2) {
			f.Client, f.Node, f.By, on = client, none, of(d, f.By, -f.By), true
		}
	case 6:
		f.Verb, f.PPM, on = Drift, d.below(0, c.DriftPPM/2)-c.DriftPPM/4, cl.drifts
		f.Client = client
		if d.one(2) {
			f.Client, f.Node = none, node
		}
	default:
		f.Verb = of(d, Cut, Hold, Slow)
		on = f.Verb == Cut && cl.cuts || f.Verb == Hold && cl.holds || f.Verb == Slow && cl.slow
		f.Client, f.Node, f.Direction = of(d, client, client, all), of(d, node, node, all), d.pick(3)
		if f.Verb == Slow {
			f.By = d.scaled(c.Latency, 2*c.TTL)
		}
	}
	return f, on
}

// losing is how much a server that keeps things in memory loses beyond that; the
// durable lose nothing.
func (d *draw) losing(c *Config, node int) time.Duration {
	kind := TTLServer
	if node == all || d.one(2) {
		return 0
	}
	if c.Alias && node == c.Nodes-1 {
		node = 0 // the server of that name
	}
	if len(c.Kinds) > 0 {
		kind = c.Kinds[node%len(c.Kinds)]
	}
	if !kinds[kind].losesCounters {
		return 0
	}
	return d.scaled(c.Latency, 4*c.TTL)
}

// when draws a moment: any, or one at which a lock attempt is at something.
func (d *draw) when(c *Config) Fault {
	if d.one(2) {
		return Fault{At: time.Duration(d.below(0, int64(c.HealAt)))}
	}
	f := Fault{On: of(d, events...), OnClient: d.pick(c.Clients), OnCount: 1 + d.pick(of(d, 3, 20))}
	if d.one(2) {
		f.At = d.scaled(time.Microsecond, 2*c.Latency+c.Jitter)
	}
	return f
}

// edges aims clients at the moments where things change hands: when the nodes
// free a key, when a holder's validity ends, when a node is of age again.
func (d *draw) edges(c *Config) {
	if c.Clients < 2 {
		return
	}
	margin := (&protocol.Config{DriftPPM: c.DriftPPM}).Margin(c.TTL)
	for range of(d, 2, 5, 10) {
		holder := d.pick(c.Clients)
		f := Fault{Verb: Aim, On: "takes", OnClient: holder, OnCount: 1 + d.pick(8), Client: (holder + 1 + d.pick(c.Clients-1)) % c.Clients,
			Node: none, Of: holder, Edge: of(d, "expiry", "expiry", "validity"), By: of(d, 0, time.Microsecond, 10*time.Microsecond, -time.Microsecond, margin/4)}
		f.At = of(d, 0, c.TTL/2)
		cut := Fault{Verb: of(d, Cut, Pause), On: "takes", OnClient: holder, OnCount: f.OnCount, Client: holder, Node: none, For: c.TTL + c.TTL/8}
		if cut.Verb == Cut {
			cut.Node, cut.Direction = all, both
		}
		c.Faults = append(c.Faults, f)
		if d.one(2) {
			c.Faults = append(c.Faults, cut)
		}
	}
	for i := range c.Faults {
		if f := c.Faults[i]; f.Verb == Crash && f.Node >= 0 && f.On == "" && d.one(2) {
			c.Faults = append(c.Faults, Fault{Verb: Aim, At: f.At + f.For + time.Microsecond, Client: all, Node: none, Of: f.Node, Edge: "age",
				By: of(d, 0, time.Microsecond, -time.Microsecond, -margin)})
		}
	}
}
