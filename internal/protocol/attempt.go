package protocol

import (
	"slices"
	"time"
)

// phase is where an attempt is in its life. It only moves forward.
type phase uint8

const (
	idle       phase = iota
	acquiring        // every node was asked; too few have granted so far
	confirming       // a majority granted with different fences: the token is written back
	held             // the lease is valid
	ending           // it is over, for whatever reason; grants are given back
	finished
)

// Attempt is one owner's life, from its first request to its last: a round of
// acquires, a lease if a majority granted, renewals, and the release. A retry is
// a new Attempt with a new owner, so that a late release of one can never free
// the next.
//
// Use New and Step. An Attempt is not safe for concurrent use; Clone copies it.
type Attempt struct {
	cfg   *Config
	seats []seat
	out   []Output

	ttl     time.Duration
	hint    uint64
	counter uint64  // largest counter or fence that any vote showed
	started Instant // before the first request was sent
	last    Instant // of the latest Step
	timer   Instant // as last told to the driver
	nextID  uint32
	due     int32 // answers that the driver still owes

	// There may be very many attempts, so what takes a byte stands together.
	phase     phase
	fired     bool // the timer did in this Step, early perhaps
	queue     bool
	taken     bool // the user has the lease
	passed    bool // another user had it before
	unlocking bool // the user waits to hear of the release
	patient   bool // nodes that have not answered the only acquire are not told before they have
	draining  bool

	token      uint64
	spare      uint64  // how many tokens above this one are the attempt's too
	passUntil  Instant // no passing on after this
	until      Instant // end of validity
	holdEnd    Instant // MaxHold's; zero for none
	nextRenew  Instant // zero for none
	renewal    Instant // the absolute schedule's latest point
	renewGoal  Instant // validity that the renewal under way is to reach
	extendGoal Instant // same for a Prolong; zero for none

	longest time.Duration // longest TTL asked of any node
	giveUp  Instant       // releases are not retried after this
}

// New makes an attempt. cfg is shared, never copied, and must not change.
func New(cfg *Config) Attempt {
	return Attempt{cfg: cfg, seats: make([]seat, cfg.Nodes)}
}

// Renew makes an attempt as good as new, in the memory that it has. cfg must have as
// many nodes as before.
func (a *Attempt) Renew(cfg *Config) {
	clear(a.seats)
	*a = Attempt{cfg: cfg, seats: a.seats}
}

// Clone makes an independent copy.
func (a *Attempt) Clone() Attempt {
	b := *a
	b.seats = slices.Clone(a.seats)
	b.out = nil
	return b
}

// Step takes one input at an instant of the client's clock, appends what is to
// be done to out, and returns it. A lease whose validity is over is ended before
// the input is looked at, so that no answer can bring it back.
func (a *Attempt) Step(now Instant, in Input, out []Output) []Output {
	now = max(now, a.last)
	a.last, a.out, a.fired = now, out, false
	a.timeouts(now)
	if a.phase == held && a.expired(now) {
		a.lose(now, a.expiryReason())
	}
	switch in.Kind {
	case Start:
		a.start(now, &in)
	case Voted:
		a.voted(now, &in)
	case Tick:
		a.fired = true
	case Take:
		a.take(now)
	case Pass:
		a.pass(now)
	case Prolong:
		a.prolong(now, in.TTL)
	case Relinquish:
		a.relinquish(now)
	case Drain:
		a.drain(now)
	}
	a.conclude(now)
	a.arm()
	out, a.out = a.out, nil
	return out
}

// Held says that the lease is held, as of the latest Step.
func (a *Attempt) Held() bool { return a.phase == held }

// Until is the end of validity, if the lease is or was held.
func (a *Attempt) Until() Instant { return a.until }

// conclude draws the conclusions of everything known by now.
func (a *Attempt) conclude(now Instant) {
	switch a.phase {
	case acquiring, confirming:
		a.concludeAcquire(now)
	case held:
		a.concludeHold(now)
	}
	// Not a case: any of the above may just have ended the attempt.
	if a.phase == ending {
		a.concludeEnd(now)
	}
}

// voted files an answer with its seat.
func (a *Attempt) voted(now Instant, in *Input) {
	if in.Node < 0 || in.Node >= len(a.seats) || a.due == 0 {
		return // a duplicate, or not ours
	}
	s := &a.seats[in.Node]
	a.due--
	if a.cfg.without(CountFromSending) {
		s.sent, in.Sent = now, now
	}
	in.Vote = in.Vote.sane(in.Op)
	a.counter = max(a.counter, in.Vote.Counter, in.Vote.Fence)
	switch in.Op {
	case Acquire:
		a.acquireVoted(now, in.Node, in)
	case Confirm:
		if s.answer(in) {
			s.confirmed(in.Vote)
		}
	case Extend:
		if s.answer(in) {
			s.extended(a.cfg, in.Vote)
		} else {
			s.vouched(a.cfg, in)
		}
	case Release:
		if s.answer(in) {
			a.releaseVoted(now, s, in.Vote)
		}
	}
}

// send asks a node; a new request takes the place of an unanswered one.
func (a *Attempt) send(now Instant, node int, req Request) {
	a.nextID++
	req.ID = a.nextID
	req.Deadline = now.Add(a.cfg.NodeTimeout)
	a.seats[node].ask(now, req)
	a.longest = max(a.longest, req.TTL)
	a.due++
	out := a.emit(Send)
	out.Node, out.Request = node, req
}

// emit adds an output and gives it to be filled in, where it is: outputs are large.
func (a *Attempt) emit(kind OutputKind) *Output {
	a.out = append(a.out, Output{})
	out := &a.out[len(a.out)-1]
	out.Kind = kind
	return out
}

// timeouts ends the wait for nodes that have not answered by their deadline. None
// comes before the timer.
func (a *Attempt) timeouts(now Instant) {
	if now < a.timer {
		return
	}
	for i := range a.seats {
		s := &a.seats[i]
		if !s.waiting() || now < s.deadline(a.cfg) {
			continue
		}
		asked := s.asked()
		s.outcome = Unknown
		switch {
		case s.op == Release:
			a.releaseFailed(now, s)
		case a.phase == ending && asked && !a.cfg.without(ReleaseUnknown):
			s.retryAt = now
		}
	}
}

// arm tells the driver when to step next, if that changed.
func (a *Attempt) arm() {
	var at Instant
	consider := func(t Instant) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	for i := range a.seats {
		s := &a.seats[i]
		if s.waiting() {
			consider(s.deadline(a.cfg))
		}
		consider(s.retryAt)
	}
	if a.phase == held {
		consider(a.until)
		if a.renewing() {
			consider(a.nextRenew)
		}
		if a.bare() {
			for i := range a.seats {
				consider(a.healAt(i))
			}
		}
	}
	if at != a.timer || a.fired && at != 0 {
		a.timer = at
		a.emit(SetTimer).At = at
	}
}

// outcomes copies each node's last outcome, for the driver to report.
func (a *Attempt) outcomes() []Outcome {
	votes := make([]Outcome, len(a.seats))
	for i := range a.seats {
		votes[i] = a.seats[i].outcome
	}
	return votes
}

// reason tells contention from outage: it is an outage if the failed nodes
// alone make a quorum impossible, and contention if a quorum answered. While
// neither is known it takes one more answer to say.
func (a *Attempt) reason() (reason Reason, certain bool) {
	failed, answered := 0, 0
	for i := range a.seats {
		switch o := a.seats[i].outcome; {
		case o.failed():
			failed++
		case o != Pending:
			answered++
		}
	}
	if a.cfg.Nodes-failed < a.cfg.Quorum {
		return NoQuorum, true
	}
	return Contended, answered >= a.cfg.Quorum
}
