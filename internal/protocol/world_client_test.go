package protocol

import (
	"time"
)

// worldClient wants the key again and again, as Locker.Lock does.
type worldClient struct {
	world       *world
	id          int
	clock       worldClock
	skew        int64 // of the wall clock
	guards      Guards
	waiter      Waiter
	pausedUntil trueTime
	retire      bool // makes no further attempt by itself
}

func newWorldClient(w *world, id int) *worldClient {
	return &worldClient{
		world: w, id: id, clock: w.drawClock(),
		skew:   w.rng.Int64N(2*w.skew+1) - w.skew,
		guards: NewGuards(&w.cfg),
		waiter: Waiter{Config: &w.cfg},
	}
}

func (c *worldClient) now() Instant { return c.clock.read(c.world.now) }

// after does something when the client's clock has moved on by d.
func (c *worldClient) after(d time.Duration, do func()) {
	c.world.at(c, c.clock.when(c.now().Add(d)), do)
}

func (c *worldClient) some(d time.Duration) time.Duration {
	return time.Duration(c.world.rng.Int64N(int64(d) + 1))
}

// worldAttempt drives one Attempt, as the Locker's coordinator does.
type worldAttempt struct {
	client   *worldClient
	owner    int
	machine  Attempt
	timer    int // counts, so that a timer that was replaced is known
	open     map[uint32]bool
	outcomes []Outcome // by node: of the latest acquire

	started  Instant
	won      bool
	failed   bool
	over     bool // lost, failed or given up
	taken    bool
	finished bool
	token    uint64
	until    Instant
	asked    int    // Prolongs without an answer
	released []bool // by node: a release was sent
}

func (c *worldClient) begin() {
	w := c.world
	if w.calm && !c.retire {
		return
	}
	at := &worldAttempt{
		client: c, owner: len(w.owners), machine: New(&w.cfg), open: map[uint32]bool{},
		outcomes: make([]Outcome, w.cfg.Nodes), released: make([]bool, w.cfg.Nodes),
	}
	w.owners = append(w.owners, at)
	at.started = c.now()
	wall := int64(w.now)/1000 + c.skew
	if w.blind {
		wall = 0
	}
	hint := c.waiter.Hint(wall)
	at.step(Input{Kind: Start, TTL: w.ttl, Hint: hint})
	if w.chance(50) {
		c.after(c.some(w.cfg.NodeTimeout), at.cancel)
	}
}

func (at *worldAttempt) cancel() {
	if !at.over {
		at.step(Input{Kind: Relinquish})
		at.step(Input{Kind: Take})
	}
}

// step does as Attempt.Step tells, and sees to it that a clone tells the same.
func (at *worldAttempt) step(in Input) {
	w := at.client.world
	now := at.client.now()
	twin := at.machine.Clone()
	again := twin.Step(now, in, nil)
	outputs := at.machine.Step(now, in, nil)
	w.checker.same(at, again, outputs)
	for _, out := range outputs {
		w.checker.output(at, out)
		at.act(now, out)
	}
	if in.Kind == Relinquish || in.Kind == Drain {
		at.over = true
	}
}

func (at *worldAttempt) act(now Instant, out Output) {
	c, w := at.client, at.client.world
	switch out.Kind {
	case Send:
		at.send(now, out)
	case SetTimer:
		at.timer++
		timer := at.timer
		if out.At != 0 {
			w.at(c, c.clock.when(out.At), func() {
				if at.timer == timer {
					at.step(Input{Kind: Tick})
				}
			})
		}
	case Won:
		at.won, at.token, at.until = true, out.Token, at.mutated(out.Until)
		c.after(c.some(w.latency)*time.Duration(w.rng.IntN(3)), at.take)
	case Renewed:
		at.until = at.mutated(out.Until)
	case Failed:
		at.failed, at.over = true, true
		c.lost(now, out.Failure)
	case Lost:
		at.over = true
		c.again()
	case Finished:
		at.finished = true
	}
}

func (at *worldAttempt) mutated(until Instant) Instant {
	if f := at.client.world.mutant.until; f != nil {
		return f(at, until)
	}
	return until
}

// take hands the lease over, and its user works for a while.
func (at *worldAttempt) take() {
	c, w := at.client, at.client.world
	if at.taken || at.over {
		return
	}
	at.taken = true
	at.step(Input{Kind: Take})
	if at.over {
		return
	}
	w.checker.handedOver(at)
	if w.rng.IntN(3) == 0 {
		c.after(c.some(w.ttl), at.prolong)
	}
	if w.rng.IntN(8) > 0 { // else it is forgotten, and ends by itself
		c.after(c.some(w.ttl*time.Duration(w.rng.IntN(3))), at.unlock)
	} else {
		c.after(4*w.ttl, at.unlock)
	}
}

func (at *worldAttempt) prolong() {
	w := at.client.world
	if at.over {
		return
	}
	at.asked++
	at.step(Input{Kind: Prolong, TTL: w.ttl/2 + at.client.some(w.cfg.MaxTTL-w.ttl/2)})
}

func (at *worldAttempt) unlock() {
	if at.over {
		return
	}
	at.step(Input{Kind: Tick}) // it may have been lost by now
	if !at.over {
		at.step(Input{Kind: Relinquish})
		at.client.again()
	}
}

// lost waits as the Waiter says; who is told to stop comes back later.
func (c *worldClient) lost(now Instant, f Failure) {
	wait, again := c.waiter.Next(now, f, c.world.rng.Uint64())
	if !again || c.world.rng.IntN(20) == 0 {
		c.again()
		return
	}
	if !c.retire {
		c.after(wait, c.begin)
	}
}

// again wants the key anew, after a while.
func (c *worldClient) again() {
	if !c.retire {
		c.waiter = Waiter{Config: &c.world.cfg}
		c.after(c.some(c.world.ttl/4), c.begin)
	}
}

// send carries a request to its node, perhaps twice, and the first answer back;
// at the deadline, or somewhat later if the driver is patient, it says unknown.
func (at *worldAttempt) send(now Instant, out Output) {
	c, w, n, req := at.client, at.client.world, at.client.world.nodes[out.Node], out.Request
	at.open[req.ID] = true
	if req.Op == Release {
		at.released[out.Node] = true
	}
	wait := req.Deadline.Sub(now)
	if w.patient {
		wait += c.some(2 * w.cfg.NodeTimeout)
	}
	c.after(wait, func() { at.answer(out.Node, req, Vote{Outcome: Unknown}) })
	if w.mutant.mute != nil && w.mutant.mute(at, out) {
		at.released[out.Node] = at.released[out.Node] && req.Op != Release
		return
	}
	if w.mutant.fake != nil {
		if v := w.mutant.fake(at, out); v != nil {
			c.after(w.latency, func() { at.answer(out.Node, req, *v) })
			return
		}
	}
	deliveries := 1
	if w.chance(w.repeats) {
		deliveries = 2
	}
	repeated := deliveries > 1
	for range deliveries {
		if w.chance(w.lossy) {
			continue
		}
		sent := now
		w.at(nil, w.now+w.delay(), func() {
			if n.unreachable(c) {
				return
			}
			vote, facts := n.handle(at.owner, req, repeated), n.facts()
			if w.chance(w.lossy) {
				return
			}
			w.at(c, w.now+w.delay(), func() { at.answer(out.Node, req, c.admit(n.id, sent, req, vote, facts)) })
		})
	}
}

// admit asks the Guards. They must not be wrong about an honest clock, unless
// answers overtake each other by much: then they may take a drift for a leap,
// which costs a vote.
func (c *worldClient) admit(node int, sent Instant, req Request, v Vote, f Facts) Vote {
	if req.Op == Release || c.world.mutant.noGuards {
		return v
	}
	bar, wait, _ := c.guards.Admit(node, sent, c.now(), f)
	alarm := bar == Alias || bar == Leapt && c.world.setBacks == 0 || bar == Young && f.Age == 0
	c.world.checker.require(!alarm, "false alarm", "node %d is barred: %d", node, bar)
	if bar != NotBarred {
		v.Outcome, v.BarredFor = Barred, wait
	}
	return v
}

func (at *worldAttempt) answer(node int, req Request, v Vote) {
	if !at.open[req.ID] {
		return // answered before
	}
	delete(at.open, req.ID)
	in := Input{Kind: Voted, Node: node, Request: req.ID, Op: req.Op,
		Sent: req.Deadline.Add(-at.client.world.cfg.NodeTimeout), TTL: req.TTL, Fence: req.Fence, Vote: v}
	if req.Op == Acquire {
		at.outcomes[node] = v.Outcome
	}
	if f := at.client.world.mutant.vote; f != nil {
		f(at, &in)
	}
	at.client.world.trace.add(at.client.world, "attempt %d: node %d says %v to %v", at.owner, node, in.Vote, req.Op)
	at.step(in)
}

// unfinished has the attempts that are not finished.
func (w *world) unfinished() []int {
	var ids []int
	for _, at := range w.owners {
		if !at.finished {
			ids = append(ids, at.owner)
		}
	}
	return ids
}
