package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// userState is what a client's program is at.
type userState uint8

const (
	thinking  userState = iota
	acquiring           // an attempt is under way
	waiting             // between two attempts
	holding
	unlocking
)

// client is one process: a Locker, and one program that uses it.
type client struct {
	id               int
	wall, mono, boot clock
	rate             int64
	paused           int // nested faults
	suspended        int
	down             int
	inbox            []event // what happened to it meanwhile

	cfg       *protocol.Config
	members   []int // the nodes that it asks
	guards    protocol.Guards
	waiter    protocol.Waiter
	random    uint64           // drawn with the attempt, as the Locker does
	contended protocol.Instant // when others were last seen to have the key

	work    Work
	state   userState
	gen     uint32 // the user's events of an earlier state are stale
	epoch   uint32 // so is everything of an earlier life
	current *attempt
	active  []*attempt // all with anything left to do
	asked   Time
	owner   uint32 // of all its tries, only without YieldOwner
	retryAt Time   // of the next attempt, while it waits
	place   place
	placed  uint64 // nodes, by seat, that have a place for it, or something set aside
	line    []Time // since when its other users have waited
	shared  bool   // they have, while the one whose turn it is did
	from    Time   // the next of them does not ask before
	leases  int
	wins    int // after all faults ended
	note    int32
	copied  *snapshot // what it will go on from
}

// attempt drives one protocol.Attempt, as the Locker's does: a step for each
// event, and whatever the step says is done.
type attempt struct {
	id       uint32 // its place in the world; the owner is another number only without FreshOwner
	owner    uint32
	client   *client
	epoch    uint32
	timer    protocol.Instant
	wake     Time // when that is, as the client's clock now runs; never if none is set
	lapse    Time // no call's deadline is before that
	alarm    Time // of the next evAlarm; never if there is none
	alarmGen uint32
	engine

	// For the program and for the checkers.
	token    uint64
	until    protocol.Instant
	won      bool
	taken    bool
	over     bool // lost, failed, or given up
	finished bool
	started  Time   // its grants are from no earlier
	since    Time   // its lease, if it has one, is from no earlier
	floor    uint64 // the largest token that had been returned when it started
	handed   Time   // to the user
	ended    Time
	relied   Time     // the validity's end in true time, as its client's clock then ran
	servers  uint64   // those that granted
	heir     *attempt // the lease was passed on to it
	passed   bool     // on to this one, from another
	waiter   uint32
	strays   uint64 // those that granted to a duplicate, after they had refused
	renewing bool
	note     int32
	notes    []int32
	bar      int // of the recording's picture
}

// engine is the part of an attempt that it needs until it is finished, and most of
// its memory.
type engine struct {
	machine *protocol.Attempt
	calls   []call
}

// call is a request that has not been answered yet.
type call struct {
	id       uint32
	node     int
	op       protocol.Op
	sent     protocol.Instant
	deadline protocol.Instant
}

// steady is the clock that the protocol is run by.
func (w *world) steady(c *client) *clock {
	switch {
	case w.cfg.Without.Has(SteadyClock):
		return &c.wall
	case w.cfg.Without.Has(BootClock):
		return &c.mono
	}
	return &c.boot
}

func (w *world) local(c *client) protocol.Instant {
	return protocol.Instant(w.steady(c).read(w.now))
}

func (w *world) trueTime(c *client, at protocol.Instant) Time {
	return w.steady(c).when(w.now, int64(at))
}

// begin starts an attempt under a fresh owner.
func (w *world) begin(c *client) {
	id := uint32(len(w.attempts) + 1)
	if len(w.fresh) == 0 {
		w.fresh = make([]attempt, 32)
	}
	a := &w.fresh[0]
	w.fresh = w.fresh[1:]
	*a = attempt{id: id, owner: id, client: c, epoch: c.epoch, started: w.now, since: w.now, floor: w.judge.returned,
		wake: never, lapse: never, alarm: never, engine: w.newEngine(c)}
	if w.cfg.Without.Has(FreshOwner) {
		a.owner = uint32(c.id + 1)
	}
	if w.cfg.Without.Has(YieldOwner) {
		setDefault(&c.owner, id)
		a.owner = c.owner
	}
	w.attempts = append(w.attempts, a)
	c.active = append(c.active, a)
	c.current, c.random = a, w.choose.bits64(w.clientStream(c))
	w.become(c, acquiring)
	wall := c.wall.read(w.now) / 1000
	if w.cfg.Without.Has(HintFromClock) {
		wall = 0
	}
	w.noteAttempt(a, "asks the nodes")
	waiter, queue := w.takePlace(c)
	a.waiter = waiter
	w.step(a, protocol.Input{Kind: protocol.Start, TTL: w.cfg.TTL, Hint: c.waiter.Hint(wall), Queue: queue, Spare: c.waiter.Spare(wall, w.wants(c))})
	w.signal(c.id, "starts")
}

func (w *world) newEngine(c *client) engine {
	n := len(w.spare)
	if n == 0 || c.cfg != &w.proto {
		machine := protocol.New(c.cfg)
		return engine{machine: &machine, calls: make([]call, 0, 2*w.cfg.Nodes)}
	}
	e := w.spare[n-1]
	w.spare = w.spare[:n-1]
	e.machine.Renew(c.cfg)
	return e
}

// become changes what the program is at; events of the state before are stale.
func (w *world) become(c *client, s userState) {
	c.state = s
	c.gen++
}

// step feeds one input to the machine and does what it says.
func (w *world) step(a *attempt, in protocol.Input) {
	if a.finished {
		return
	}
	w.outs = a.machine.Step(w.local(a.client), in, w.outs[:0])
	for i := range w.outs {
		w.act(a.last(), &w.outs[i])
	}
}

// act does one output. It never steps an attempt itself.
func (w *world) act(a *attempt, out *protocol.Output) {
	w.fold(uint64(a.id)<<8|uint64(out.Kind), out.Token)
	switch out.Kind {
	case protocol.Send:
		w.send(a, out.Node, out.Request)
	case protocol.SetTimer:
		a.timer = out.At
		w.armTimer(a)
	case protocol.Won:
		w.won(a, out)
	case protocol.Failed:
		w.failed(a, &out.Failure)
	case protocol.Renewed:
		before := a.until
		a.until = out.Until
		w.renewed(a, before)
	case protocol.Passed:
		w.passed(a, out)
	case protocol.Lost:
		w.lost(a, out.Reason)
	case protocol.Released, protocol.NotReleased:
		if c := a.client; c.current == a && c.state == unlocking {
			w.idle(c)
		}
	case protocol.Finished:
		w.finished(a)
	}
}

func (w *world) send(a *attempt, node int, req protocol.Request) {
	c := a.client
	now := w.local(c)
	batched := len(a.calls) > 0 && a.calls[len(a.calls)-1].deadline == req.Deadline
	a.calls = append(a.calls, call{id: req.ID, node: node, op: req.Op, sent: now, deadline: req.Deadline})
	if !batched {
		a.lapse = min(a.lapse, w.trueTime(c, req.Deadline))
		w.arm(a, a.lapse)
	}
	i, m := w.newMessage()
	*m = message{req: req, owner: a.owner, attempt: a.id, client: int16(c.id), node: int16(c.members[node]), epoch: c.epoch, note: a.note}
	if req.First {
		m.waiter = a.waiter
	}
	w.transmit(i)
	switch req.Op {
	case protocol.Confirm:
		w.signal(c.id, "confirms")
	case protocol.Extend:
		if !a.renewing {
			a.renewing = true
			w.signal(c.id, "renews")
		}
	}
}

func (w *world) won(a *attempt, out *protocol.Output) {
	a.won, a.token, a.until = true, out.Token, out.Until
	w.checkWon(a)
	w.noteWon(a)
	c := a.client
	if c.current == a && c.state == acquiring {
		stream := w.clientStream(c)
		w.user(c, evHandover, time.Duration(w.choose.exponential(stream, int64(w.cfg.TakesLong))))
		w.signal(c.id, "wins")
	}
}

// failed is told of an attempt that did not become a lease, or not in time.
func (w *world) failed(a *attempt, f *protocol.Failure) {
	a.over, a.ended = true, w.now
	w.stats.Failed++
	c := a.client
	if c.current != a || c.state != acquiring {
		return // it was given up
	}
	w.noteAttempt(a, "fails: "+f.Reason.String())
	if f.Reason == protocol.NoQuorum || f.Reason == protocol.TooSlow {
		w.stats.NoQuorum++
	}
	if f.Reason == protocol.Contended {
		c.contended = w.local(c)
	}
	pause, again := c.waiter.Next(w.local(c), *f, c.random)
	if !again {
		w.stats.GaveUp++
		w.noteAttempt(a, "returns ErrNoQuorum")
		w.idle(c)
		return
	}
	w.retry(c, pause)
	w.signal(c.id, "fails")
}

func (w *world) lost(a *attempt, why protocol.Reason) {
	a.over, a.ended = true, w.now
	w.stats.Losses++
	w.noteAttempt(a, "loses the lease: "+why.String())
	w.endHold(a)
	if c := a.client; c.current == a && c.state == holding {
		w.idle(c)
		w.signal(c.id, "loses")
	}
}

func (w *world) finished(a *attempt) {
	a.finished = true
	w.checkFinished(a)
	c := a.client
	if c.cfg == &w.proto {
		w.spare = append(w.spare, engine{a.machine, a.calls[:0]})
	}
	a.engine = engine{}
	for i, b := range c.active {
		if b == a {
			c.active = append(c.active[:i], c.active[i+1:]...)
			break
		}
	}
}

// answer takes a reply, or hears that there will be none.
func (w *world) answer(e event, broken bool) {
	w.hear(w.messages[e.a()], broken)
	w.free = append(w.free, e.a())
}

func (w *world) hear(m *message, broken bool) {
	if m.attempt == 0 { // a call, or the answer to one
		if m.isCall && !broken {
			w.called(m)
		}
		return
	}
	c := &w.clients[m.client]
	a := w.attempts[m.attempt-1].last()
	if a.epoch != c.epoch || a.finished {
		return
	}
	index := -1
	for i := range a.calls {
		if a.calls[i].id == m.req.ID {
			index = i
			break
		}
	}
	if index < 0 {
		if w.cfg.Without.Has(VotesByNode) && !broken && m.req.Op == protocol.Acquire && m.reply.granted {
			w.countTwice(a, m)
		}
		return // answered already: late, or a duplicate
	}
	called := a.calls[index]
	a.calls = append(a.calls[:index], a.calls[index+1:]...)
	if !broken {
		w.notePlace(c, called.node, m)
	}
	vote := protocol.Vote{Outcome: protocol.Unknown}
	if !broken && !m.reply.failed {
		vote = w.admit(c, a, &called, m)
	}
	w.step(a, protocol.Input{Kind: protocol.Voted, Node: called.node, Request: called.id, Op: called.op,
		Sent: called.sent, TTL: m.req.TTL, Fence: m.req.Fence, Vote: vote})
}

// countTwice is the bug of counting answers rather than nodes: a duplicate is
// taken for the answer of a node that has not answered yet.
func (w *world) countTwice(a *attempt, m *message) {
	for i, called := range a.calls {
		if called.op == protocol.Acquire {
			a.calls = append(a.calls[:i], a.calls[i+1:]...)
			w.step(a, protocol.Input{Kind: protocol.Voted, Node: called.node, Request: called.id, Op: called.op,
				Vote: protocol.Vote{Outcome: protocol.Granted, Fence: m.reply.fence, Counter: m.reply.counter}})
			return
		}
	}
}

// admit turns a node's answer into a vote, as the Locker does.
func (w *world) admit(c *client, a *attempt, called *call, m *message) protocol.Vote {
	if called.op == protocol.Release {
		return protocol.Vote{Outcome: protocol.Granted}
	}
	r := &m.reply
	bar, wait, _ := c.guards.Admit(called.node, called.sent, w.local(c),
		protocol.Facts{Incarnation: r.incarnation, Age: time.Duration(r.age), Clock: r.clock})
	vote := protocol.Vote{Outcome: protocol.Refused, Fence: r.fence, Counter: r.counter, Remaining: time.Duration(r.remaining), Queued: r.queued}
	switch {
	case bar != protocol.NotBarred:
		vote.Outcome, vote.BarredFor = protocol.Barred, wait
		w.stats.Barred++
	case r.granted:
		vote.Outcome = protocol.Granted
		w.checkCounted(a, called, m)
	}
	return vote
}
