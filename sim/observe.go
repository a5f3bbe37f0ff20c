package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Deed is one event in the life of a real lock, as somebody outside can see it:
// what a client's program did or was told, a write's arrival at the resource, or a
// fault. All are dated by one clock.
type Deed struct {
	At     time.Duration `json:"at"` // since the run began
	Kind   DeedKind      `json:"kind"`
	Client int           `json:"client"`          // from 0
	Key    string        `json:"key,omitempty"`   // empty for what concerns all keys
	Lease  uint64        `json:"lease,omitempty"` // one asking, and the lease that came of it; different for each
	Token  uint64        `json:"token,omitempty"`
	Until  time.Duration `json:"until,omitempty"`  // the end of validity, on the same clock
	Fenced bool          `json:"fenced,omitempty"` // Arrives: the fenced resource took it
	Fault  string        `json:"fault,omitempty"`  // as ParseFault reads it
	Text   string        `json:"text,omitempty"`
}

// DeedKind says what a Deed is.
type DeedKind string

// The kinds of deeds. The instants are on the safe side: a program has its lease
// not before Takes, and no longer than until Unlocks or Until.
const (
	Asks     DeedKind = "asks"     // Lock or TryLock is about to be called
	Takes    DeedKind = "takes"    // it has returned a lease
	Renews   DeedKind = "renews"   // the lease has another Until
	Unlocks  DeedKind = "unlocks"  // Unlock is about to be called
	Loses    DeedKind = "loses"    // the program is told that its lease is lost
	Fails    DeedKind = "fails"    // too few nodes voted in an attempt
	GivesUp  DeedKind = "gives up" // Lock has returned without a lease, for want of nodes
	Declines DeedKind = "declines" // it has returned without one, as others hold the key
	Dies     DeedKind = "dies"     // the client's process was killed
	Writes   DeedKind = "writes"   // a write is sent to the resource
	Arrives  DeedKind = "arrives"  // it gets there
	Strikes  DeedKind = "strikes"  // a fault begins
	Mends    DeedKind = "mends"    // it ends
	Heals    DeedKind = "heals"    // all faults have ended
	Remains  DeedKind = "remains"  // a node keeps the key although nobody uses it any more
	Starves  DeedKind = "starves"  // a client did not get the lock for too long after all faults ended
)

// Judge judges a history with the simulator's own checkers: exclusion, tokens,
// fencing, and what was seen of leftovers and liveness. What they ask of the
// nodes' memories cannot be seen from outside and is not asked. epoch is the wall
// clock's time, in microseconds, as the run began.
//
// cfg says which nodes there were and what was asked of them. Keys are judged one
// by one; the picture is of the first that a promise was broken on, or of the
// first.
func Judge(cfg Config, epoch uint64, history []Deed) Report {
	cfg.fill()
	cfg.Faults = nil
	history = slices.Clone(history)
	slices.SortStableFunc(history, func(a, b Deed) int { return cmp.Compare(a.At, b.At) })
	var keys []string
	for _, d := range history {
		if d.Key != "" && !slices.Contains(keys, d.Key) {
			keys = append(keys, d.Key)
		}
	}
	if len(keys) == 0 {
		keys = []string{""}
	}
	var out Report
	for i, key := range keys {
		o := newObservation(cfg, epoch)
		for _, d := range history {
			if d.Key == key || d.Key == "" {
				o.see(d, i == 0)
			}
		}
		r := o.world.report()
		worlds := append(out.worlds, o.world)
		if i == 0 {
			out = r
		} else {
			out.join(&r)
		}
		out.worlds = worlds
	}
	out.Verdict = out.judge()
	return out
}

// join adds another key's report.
func (r *Report) join(other *Report) {
	if len(r.Violations) == 0 && len(other.Violations) > 0 {
		r.world = other.world
	}
	r.Violations = append(r.Violations, other.Violations...)
	r.Overlaps += other.Overlaps
	r.Overlapped = max(r.Overlapped, other.Overlapped)
	if r.Beyond == "" {
		r.Beyond = other.Beyond
	}
	s, o := &r.Stats, &other.Stats
	s.Events += o.Events
	s.Time = max(s.Time, o.Time)
	s.Waited += o.Waited
	s.LongestWait = max(s.LongestWait, o.LongestWait)
	for _, c := range []struct{ to, of *int }{
		{&s.Acquired, &o.Acquired}, {&s.Failed, &o.Failed}, {&s.NoQuorum, &o.NoQuorum}, {&s.GaveUp, &o.GaveUp}, {&s.Losses, &o.Losses},
		{&s.Renewals, &o.Renewals}, {&s.Writes, &o.Writes}, {&s.Accepted, &o.Accepted}, {&s.Rejected, &o.Rejected},
		{&s.LostUpdates, &o.LostUpdates}, {&s.Cancelled, &o.Cancelled},
	} {
		*c.to += *c.of
	}
}

// observation builds a world from what was seen of a real one.
type observation struct {
	excused Time // until then what breaks is outside the assumptions

	world   *world
	leases  map[uint64]*attempt
	written map[uint64][]uint32 // by lease: notes of writes under way, which keep their order
	largest uint64              // that the fenced resource says it took
}

// newObservation has clients whose clocks all show true time.
func newObservation(cfg Config, epoch uint64) *observation {
	cfg.RatesPPM, cfg.WallSpread, cfg.HealAt = 0, 0, 0
	w := newWorld(&cfg)
	w.queue = queue{}
	w.observed, w.epoch = true, epoch
	for i := range w.clients {
		w.clients[i].boot = clock{shown: bootOrigin}
	}
	return &observation{world: w, leases: map[uint64]*attempt{}, written: map[uint64][]uint32{}}
}

// see takes the next deed. Faults concern all keys and are counted once.
func (o *observation) see(d Deed, countFaults bool) {
	w := o.world
	w.now = Time(d.At)
	w.stats.Events++
	w.stats.Time = max(w.stats.Time, d.At)
	if w.now > o.excused {
		w.judge.beyond = ""
	}
	a := o.leases[d.Lease]
	switch d.Kind {
	case Asks:
		o.asks(d)
	case Strikes, Mends:
		o.fault(d, countFaults)
	case Fails:
		w.stats.Failed++
		w.stats.NoQuorum++
	case Dies:
		o.dies(d)
	case Heals:
		w.healed, w.healedAt = true, w.now
	case Remains:
		w.violate(Leftovers, nil, nil, "%s", d.Text)
	case Starves:
		w.violate(Liveness, nil, nil, "%s", d.Text)
	default:
		if a != nil {
			o.ofLease(d, a)
		}
	}
}

func (o *observation) asks(d Deed) {
	w := o.world
	c := &w.clients[d.Client]
	a := &attempt{id: uint32(len(w.attempts) + 1), client: c, epoch: c.epoch, started: w.now, since: w.now, floor: w.judge.returned}
	a.owner = a.id
	w.attempts = append(w.attempts, a)
	o.leases[d.Lease] = a
	w.noteAttempt(a, "asks the nodes")
}

func (o *observation) ofLease(d Deed, a *attempt) {
	w := o.world
	switch d.Kind {
	case Takes:
		o.takes(d, a)
	case Renews:
		if a.taken && !a.over {
			w.stats.Renewals++
			a.until = instantOf(d.Until)
			a.relied = Time(d.Until)
			w.noteRenewed(a)
			w.checkAlone(a)
		}
	case Unlocks:
		o.end(a, "unlocks")
	case Loses:
		w.stats.Losses++
		o.end(a, "loses the lease: "+d.Text)
	case GivesUp:
		w.stats.GaveUp++
		o.end(a, "returns ErrNoQuorum")
	case Declines:
		w.stats.Cancelled++
		o.end(a, "returns: "+d.Text)
	case Writes:
		w.stats.Writes++
		o.written[d.Lease] = append(o.written[d.Lease], w.noteWrite(a))
	case Arrives:
		o.arrives(d, a)
	}
}

func instantOf(at time.Duration) protocol.Instant { return protocol.Instant(bootOrigin + int64(at)) }

func (o *observation) takes(d Deed, a *attempt) {
	w := o.world
	a.won, a.token, a.until = true, d.Token, instantOf(d.Until)
	w.checkToken(a)
	a.taken = true
	w.stats.Acquired++
	waited := time.Duration(w.now - a.started)
	w.stats.Waited += waited
	w.stats.LongestWait = max(w.stats.LongestWait, waited)
	w.noteTaken(a)
	w.checkTaken(a)
}

func (o *observation) end(a *attempt, text string) {
	if a.over {
		return
	}
	w := o.world
	a.over, a.ended = true, w.now
	w.noteAttempt(a, text)
	if a.taken {
		w.endHold(a)
	}
}

// dies ends what a client had: it relies on nothing any more.
func (o *observation) dies(d Deed) {
	for _, a := range o.world.attempts {
		if a.client.id == d.Client {
			o.end(a, "dies")
		}
	}
}

// arrives judges the resource as well: it is a program of its own.
func (o *observation) arrives(d Deed, a *attempt) {
	w := o.world
	if d.Fenced && d.Token < o.largest {
		w.violate(Fencing, a, nil, "the fenced resource took token %d after %d", d.Token, o.largest)
	}
	if d.Fenced {
		o.largest = max(o.largest, d.Token)
	}
	var note uint32
	if notes := o.written[d.Lease]; len(notes) > 0 {
		note, o.written[d.Lease] = notes[0], notes[1:]
	}
	w.arrived(newEvent(evArrive, d.Client, a.id, note, w.now))
}

// fault tells the picture of a fault, and the judge when the assumptions are left.
func (o *observation) fault(d Deed, count bool) {
	w := o.world
	f, err := ParseFault(d.Fault)
	if err != nil || f.check(w.cfg) != nil {
		return
	}
	if d.Kind == Mends {
		if f.For = 0; count {
			o.shutBars(&f)
		}
		w.noteMend(&f)
		o.leave(&f, false)
		return
	}
	if count {
		w.stats.Faults++
	}
	f.For = 0 // its end is an event of its own
	w.noteFault(&f)
	o.leave(&f, true)
}

// leave notes that a fault leaves the assumptions, if it does: until the grants that
// stood then have ended, counted from its own end if it lasts.
func (o *observation) leave(f *Fault, striking bool) {
	w := o.world
	each(f.Node, w.cfg.Nodes, func(i int) {
		if f.Client == none || f.Verb == Expire || f.Verb == Reset || f.Verb == Idle {
			before := w.judge.beyond
			w.judge.beyond = ""
			w.leaving(f, w.nodes[i].kind)
			switch {
			case w.judge.beyond != "" && f.Verb == Drift && striking:
				o.excused = never
			case w.judge.beyond != "" && f.Verb == Drift:
				o.excused = w.now + 2*Time(w.cfg.MaxTTL)
			case w.judge.beyond != "":
				o.excused = max(o.excused, w.now+2*Time(w.cfg.MaxTTL))
			}
			if before != "" {
				w.judge.beyond = before
			}
		}
	})
}

// shutBars ends the bars of what stood still.
func (o *observation) shutBars(f *Fault) {
	if o.world.rec == nil {
		return
	}
	row := f.target()
	for i := range o.world.rec.bars {
		if b := &o.world.rec.bars[i]; b.row == row && (b.kind == "pause" || b.kind == "down") && b.to == never {
			b.to = o.world.now
		}
	}
}

// leaving notes which assumption a fault leaves on a real node, of whose grants
// nothing is known.
func (w *world) leaving(f *Fault, k Kind) {
	kind := &kinds[k]
	switch f.Verb {
	case Crash:
		w.beyond((f.LosesAll || f.Losing > 0) && !kind.losesGrants, "a durable node loses data")
	case Evict, Flush:
		w.beyond(true, "a node drops a grant and says nothing")
	case Jump:
		w.beyond(kind.byWallClock && f.By > 0, "a node's clock leaps forward")
	case Drift:
		w.beyond(kind.byWallClock && (f.PPM > w.cfg.DriftPPM/2 || f.PPM < -w.cfg.DriftPPM/2), "a clock drifts by more than the allowance")
	case Failover:
		w.beyond(true, "a node fails over to a server that lags")
	case Reset, Idle:
		w.beyond(k == SessionLock, "a connection breaks, and a session lock with it")
	case Expire:
		w.beyond(k == SessionLock || k == EphemeralNode, "a server ends a session, and a grant with it")
	}
}
