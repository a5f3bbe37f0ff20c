package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// Soak is a long run under random faults.
type Soak struct {
	For     time.Duration
	Seed    uint64
	Quorum  string        // default "mixed"
	Nodes   int           // default 5
	Clients int           // processes; default 4
	TTL     time.Duration // default 2 s; MaxTTL is the same
	Keys    int           // default 6

	// Enough ends the faults early, once it is closed; what happened by then is
	// judged as any other run.
	Enough <-chan struct{}
}

// leastTTL leaves a node of a busy machine time to answer.
const leastTTL = 100 * time.Millisecond

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Check says what is wrong with it, if anything is.
func (s Soak) Check() error {
	_, err := s.plan(true)
	return err
}

// plan draws the faults. Equal seeds draw equal ones.
func (s Soak) plan(clocks bool) (Plan, error) {
	setDefault(&s.For, time.Minute)
	setDefault(&s.Seed, 1)
	setDefault(&s.Quorum, "mixed")
	setDefault(&s.Nodes, 5)
	setDefault(&s.Clients, 4)
	setDefault(&s.TTL, 2*time.Second)
	setDefault(&s.Keys, 6)
	switch {
	case s.For < 0 || s.Nodes < 0 || s.Clients < 0 || s.Keys < 0:
		return Plan{}, errors.New("chaos: a soak's time and its numbers must not be negative")
	case s.TTL < leastTTL:
		return Plan{}, fmt.Errorf("chaos: the TTL is %v: use at least %v", s.TTL, leastTTL)
	}
	kinds, err := kindsOf(s.Quorum, s.Nodes)
	if err != nil {
		return Plan{}, err
	}
	cfg := sim.Config{
		Name: "soak", Seed: s.Seed, Nodes: s.Nodes, Clients: s.Clients, Kinds: kinds, TTL: s.TTL, MaxTTL: s.TTL,
		NodeTimeout: s.TTL / 10, OutageWait: s.TTL, HealAt: s.For, Work: sim.Work{Hold: 10 * time.Millisecond},
	}
	if err := cfg.Check(); err != nil {
		return Plan{}, err
	}
	d := &drawing{cfg: &cfg, draw: newChance(s.Seed, 0), clocks: clocks}
	d.episodes()
	if err := cfg.Check(); err != nil {
		return Plan{}, err
	}
	return Plan{Name: "soak", Quorum: s.Quorum, Config: cfg, Mixed: &Mix{Keys: s.Keys, Routines: 8}, Enough: s.Enough}, nil
}

// DrawFaults gives the faults that a soak's seed stands for, as sim.ParseFault reads
// them; with clocks, those of servers' clocks among them.
func DrawFaults(s Soak, clocks bool) []string {
	plan, err := s.plan(clocks)
	if err != nil {
		return nil
	}
	var out []string
	for i := range plan.Config.Faults {
		out = append(out, plan.Config.Faults[i].String())
	}
	return out
}

// Soak carries it out.
func (c *Cluster) Soak(ctx context.Context, self Self, s Soak) (*Result, error) {
	plan, err := s.plan(c.noClock == nil)
	if err != nil {
		return nil, err
	}
	rec, err := c.Run(ctx, self, plan)
	if err != nil {
		return nil, err
	}
	return rec.Judge(), nil
}

// drawing draws faults, episode by episode: some minority of the nodes, or some
// links or clients, have trouble for a few seconds, and then everything is well for
// a while. Now and then a majority is away at once. None of it leaves the
// assumptions, but for sessions that a server ends and clocks that leap before a
// client has seen them; so two holders are a bug, unless one of these came just
// before.
type drawing struct {
	cfg    *sim.Config
	draw   *chance
	clocks bool
	node   int // whose turn it is
}

const (
	episode = 4 * time.Second
	respite = 3 * time.Second
)

func (d *drawing) episodes() {
	for at := time.Second; at+episode < d.cfg.HealAt; at += episode + respite {
		troubles := []func(at time.Duration){d.nodes, d.nodes, d.links, d.links, d.people, d.people, d.sessions, d.rolling, d.majority}
		if d.clocks {
			troubles = append(troubles, d.clock)
		}
		troubles[d.draw.below(len(troubles))](at)
		if d.draw.below(2) == 0 {
			d.weather(at)
		}
	}
}

func (d *drawing) add(at time.Duration, format string, args ...any) {
	text := fmt.Sprintf("at %v %s", at.Round(time.Millisecond), fmt.Sprintf(format, args...))
	f, err := sim.ParseFault(text)
	if err != nil {
		panic(err) // what is drawn is in the language
	}
	d.cfg.Faults = append(d.cfg.Faults, f)
}

// next gives a node, each in its turn, so that all have their share.
func (d *drawing) next() int {
	d.node = (d.node + 1) % d.cfg.Nodes
	return d.node + 1
}

func (d *drawing) span() time.Duration { return d.draw.between(500*time.Millisecond, 3*time.Second) }

func (d *drawing) minority() int { return 1 + d.draw.below((d.cfg.Nodes-1)/2) }

// nodes kills or freezes a minority of the nodes. A node that comes back empty must
// say that it has lost its grants, which a database's does not that was durable.
func (d *drawing) nodes(at time.Duration) {
	for range d.minority() {
		n := d.next()
		begin, span := at+d.draw.between(0, 500*time.Millisecond), d.span()
		redis := d.cfg.Kinds[n-1] == sim.TTLServer
		switch d.draw.below(5) {
		case 0:
			d.add(begin, "pause n%d for %v", n, span)
		case 1:
			if redis {
				d.add(begin, "crash n%d losing all for %v", n, span)
				continue
			}
			d.add(begin, "crash n%d for %v", n, span)
		case 2:
			if redis {
				d.add(begin, "crash n%d losing %v for %v", n, d.draw.between(100*time.Millisecond, 3*time.Second), span)
				continue
			}
			d.add(begin, "pause n%d for %v", n, span)
		case 3:
			if redis {
				d.add(begin, "full n%d for %v", n, span)
				continue
			}
			d.add(begin, "crash n%d for %v", n, span)
		default:
			d.add(begin, "crash n%d for %v", n, span)
		}
	}
}

// links cuts, holds or clogs some.
func (d *drawing) links(at time.Duration) {
	for range 1 + d.draw.below(3) {
		n, c := d.next(), 1+d.draw.below(d.cfg.Clients)
		link := []string{
			fmt.Sprintf("c*-n%d", n), fmt.Sprintf("c%d-n%d", c, n), fmt.Sprintf("c%d->n%d", c, n), fmt.Sprintf("n%d->c%d", n, c),
			fmt.Sprintf("n%d->c*", n), fmt.Sprintf("c%d-n*", c),
		}[d.draw.below(6)]
		verb := []string{"cut", "hold"}[d.draw.below(2)]
		d.add(at+d.draw.between(0, time.Second), "%s %s for %v", verb, link, d.span())
	}
}

// people freezes clients, also for longer than their leases last, or kills them.
func (d *drawing) people(at time.Duration) {
	c := 1 + d.draw.below(d.cfg.Clients)
	if c <= 2 && d.draw.below(2) == 0 { // the others live all along, to be measured
		d.add(at, "crash c%d for %v", c, d.span())
		return
	}
	d.add(at, "pause c%d for %v", c, d.draw.between(100*time.Millisecond, 3500*time.Millisecond))
}

// sessions breaks connections.
func (d *drawing) sessions(at time.Duration) {
	n := d.next()
	for i := range time.Duration(4) {
		when := at + i*700*time.Millisecond + d.draw.between(0, 300*time.Millisecond)
		c := 1 + d.draw.below(d.cfg.Clients)
		switch d.draw.below(3) {
		case 0:
			d.add(when, "expire c%d-n%d", c, n)
		case 1:
			d.add(when, "reset c*-n%d", n)
		default:
			d.add(when, "idle c%d-n%d by %v for %v", c, n, d.draw.between(50*time.Millisecond, 600*time.Millisecond), 600*time.Millisecond)
		}
	}
}

// rolling restarts everything, one node after the other.
func (d *drawing) rolling(at time.Duration) {
	step := episode / time.Duration(d.cfg.Nodes+1)
	for i := range d.cfg.Nodes {
		d.add(at+time.Duration(i)*step, "crash n%d for %v", i+1, step/2)
	}
}

// majority takes most nodes away at once: nobody can have the lock, and nobody may
// have it twice.
func (d *drawing) majority(at time.Duration) {
	verb := []string{"pause n%d for %v", "crash n%d for %v", "cut c*-n%d for %v"}[d.draw.below(3)]
	for range d.cfg.Nodes/2 + 1 {
		d.add(at+d.draw.between(0, 200*time.Millisecond), verb, d.next(), d.draw.between(time.Second, 2*time.Second))
	}
}

// clock sets a node's clock, or lets it run fast or slow within the allowance.
func (d *drawing) clock(at time.Duration) {
	n := d.next()
	switch d.draw.below(3) {
	case 0:
		d.add(at, "jump n%d by %v", n, d.draw.between(time.Second, 10*time.Second))
	case 1:
		d.add(at, "jump n%d by -%v", n, d.draw.between(100*time.Millisecond, time.Second))
	default:
		d.add(at, "drift n%d by %dppm for %v", n, d.draw.below(8000)-4000, episode)
	}
}

// weather is what networks are like.
func (d *drawing) weather(at time.Duration) {
	n := d.next()
	switch d.draw.below(4) {
	case 0:
		d.add(at, "shake c*-n%d by %v for %v", n, d.draw.between(time.Millisecond, 30*time.Millisecond), episode)
	case 1:
		d.add(at, "slow c*-n%d by %v for %v", n, d.draw.between(time.Millisecond, 60*time.Millisecond), episode)
	case 2:
		d.add(at, "slice c*-n%d by %dB for %v", n, 1+d.draw.below(40), episode)
	default:
		d.add(at, "throttle n%d->c* by %dB for %v", n, 20_000+d.draw.below(100_000), episode)
	}
}

// Check says what a soak shows that it should not, or nothing.
func (res *Result) Check() string {
	v := res.Report.Broken()
	switch {
	case v != nil && v.Beyond == "":
		return v.Invariant.String() + ": " + v.Text
	case v == nil && res.Linear == disagrees:
		return "porcupine " + res.Linear
	case len(res.Growth) > 0:
		return "it grows: " + res.Growth[0]
	case res.Gap > 4*res.Report.Config.MaxTTL+5*time.Second:
		return fmt.Sprintf("no lease for %v after faults had ended", res.Gap)
	}
	return ""
}
