package protocol

import (
	"slices"
	"time"
)

// start sends the acquires. The time they take counts from here, before the
// first of them leaves, so that validity is a lower bound.
func (a *Attempt) start(now Instant, in *Input) {
	if a.phase != idle {
		return
	}
	a.phase = acquiring
	a.started, a.ttl, a.hint = now, in.TTL, min(in.Hint, MaxToken)
	a.spare, a.queue = min(in.Spare, MaxSpare), in.Queue
	if a.cfg.MaxHold > 0 {
		a.holdEnd = now.Add(a.cfg.MaxHold)
	}
	for i := range a.seats {
		a.send(now, i, Request{Op: Acquire, TTL: a.ttl, Hint: a.hint, Queue: a.queue, First: true})
	}
}

// acquireVoted files the answer to an acquire: in the first round, to heal a
// lease that is held, or too late.
func (a *Attempt) acquireVoted(now Instant, node int, in *Input) {
	s := &a.seats[node]
	if in.Vote.Outcome == Unknown && a.cfg.without(UnknownIsNoVote) {
		in.Vote = Vote{Outcome: Granted, Fence: max(1, a.hint)}
	}
	s.settle(in.Vote.Outcome)
	current := s.answer(in)
	if a.phase == ending {
		// A late grant. If a release is under way it is enough: it is final on
		// the node, whatever the order. So is the last one, if that is planned. Else
		// it has to be sent again.
		if in.Vote.Outcome == Unknown && current && a.patient && !a.cfg.without(ReleaseUnknown) {
			s.retryAt = now // it was not told before it had answered
		}
		if in.Vote.Outcome == Granted || in.Vote.Outcome == Barred {
			s.doubt = true
			underWay := s.op == Release && s.waiting()
			if !underWay && !(a.draining && s.retryAt != 0) {
				s.retryAt = now
			}
		}
		return
	}
	if !current {
		// A newer request was sent. If the node has refused that before it granted
		// this, it holds something all the same.
		s.doubt = s.doubt || in.Vote.Outcome == Granted || in.Vote.Outcome == Barred
		return
	}
	switch in.Vote.Outcome {
	case Granted:
		s.grant(a.cfg, in.Vote.Fence)
		if a.phase == acquiring && s.fence > a.hint+a.cfg.ahead() {
			a.spare = 0
		}
		a.grantedWhileConfirming(now, node)
	case Refused:
		s.lapse()
		s.setWait(in.Vote.Remaining)
		s.queued = in.Vote.Queued
	case Barred:
		s.bar(in.Vote)
	}
}

// concludeAcquire decides as soon as success is certain, or failure and its
// reason are, and never waits for the slowest node.
func (a *Attempt) concludeAcquire(now Instant) {
	if token, ok := a.agreed(); ok {
		a.win(now, token)
		return
	}
	if a.phase == acquiring && a.grants() >= a.cfg.Quorum {
		a.confirm(now)
	}
	if a.possible() < a.cfg.Quorum {
		if reason, certain := a.reason(); certain {
			a.fail(now, reason)
		}
	}
}

// agreed finds the token, if a majority W of nodes each made a grant with a
// fence no larger than it, and stored it under that very grant: either because
// the fence is the token, or by a confirm. Then no other attempt gets this token
// and every later one gets a larger: any two such majorities share a node, which
// orders the two grants, and its counter was at least the first token when it
// made the second grant.
func (a *Attempt) agreed() (uint64, bool) {
	stored := 0
	for i := range a.seats {
		s := &a.seats[i]
		if !s.granted {
			continue
		}
		if s.stored {
			stored++
		}
		same := 0
		for j := range a.seats {
			if a.seats[j].granted && a.seats[j].fence == s.fence {
				same++
			}
		}
		if same >= a.cfg.Quorum && a.spare == 0 {
			return s.fence, true
		}
	}
	return a.token, stored >= a.cfg.Quorum
}

// confirm starts the second trip: the largest fence granted becomes the token
// and is written to the nodes that granted with a lower one; or to all, as part
// of the range that it is the first of, if the attempt wants tokens to spare.
func (a *Attempt) confirm(now Instant) {
	a.phase = confirming
	for i := range a.seats {
		if a.seats[i].granted {
			a.token = max(a.token, a.seats[i].fence)
		}
	}
	for i := range a.seats {
		a.grantedWhileConfirming(now, i)
	}
}

// grantedWhileConfirming lets a grant that is not above the token take part. One
// above it cannot: the token would have to be larger, and the nodes that stored
// it would have to be asked again.
func (a *Attempt) grantedWhileConfirming(now Instant, node int) {
	s := &a.seats[node]
	if a.phase != confirming || !s.granted {
		return
	}
	switch {
	case s.fence == a.token && a.spare == 0, s.fence > a.token && a.cfg.without(NoHigherGrants), a.cfg.without(ConfirmToken):
		s.stored = true
	case s.fence <= a.token:
		last := min(a.token+a.spare, MaxToken)
		if a.cfg.without(StoreSpare) {
			last = a.token
		}
		a.send(now, node, Request{Op: Confirm, Fence: s.fence, Token: last})
	}
}

// possible counts the nodes that take part or may yet: with a grant in the first
// trip, with the token stored in the second.
func (a *Attempt) possible() int {
	n := 0
	for i := range a.seats {
		s := &a.seats[i]
		if s.waiting() || s.stored || a.phase == acquiring && s.granted {
			n++
		}
	}
	return n
}

// grants counts the nodes that granted.
func (a *Attempt) grants() int {
	n := 0
	for i := range a.seats {
		if a.seats[i].granted {
			n++
		}
	}
	return n
}

// win makes the attempt a lease, if enough validity is left.
func (a *Attempt) win(now Instant, token uint64) {
	until := a.validity()
	if until.Sub(now) < a.cfg.MinValidity || until <= now {
		a.fail(now, TooSlow)
		return
	}
	a.phase, a.token, a.until = held, token, until
	a.passUntil = min(until.Add(-a.cfg.MinValidity), now.Add(max(turn, turnTrips*now.Sub(a.started))))
	if !a.cfg.NoRenew {
		a.renewal = a.started.Add(renewEvery(a.ttl))
		a.nextRenew = a.renewal
	}
	a.out = append(a.out, Output{Kind: Won, Token: token, Until: until})
}

// take checks the validity again as the lease reaches its user, who may have
// been kept waiting for a processor since it was won.
func (a *Attempt) take(now Instant) {
	if a.phase == held && a.until.Sub(now) < a.cfg.MinValidity && !a.cfg.without(CheckAtHandover) {
		a.fail(now, TooSlow)
	}
	a.taken = true
}

// fail ends an attempt that did not become a lease.
func (a *Attempt) fail(now Instant, reason Reason) {
	f := Failure{
		Reason:    reason,
		Elapsed:   now.Sub(a.started),
		Remaining: a.freeIn(),
		Counter:   a.counter,
		Queued:    a.queuedAt(),
	}
	if reason == NoQuorum {
		f.HealsIn = a.healsIn()
	}
	a.out = append(a.out, Output{Kind: Failed, Votes: a.outcomes(), Failure: f})
	a.patient = reason == Contended
	a.end(now)
}

// queuedAt is the nodes that keep the waiter's place, a bit each.
func (a *Attempt) queuedAt() uint64 {
	var nodes uint64
	for i := range a.seats {
		if a.seats[i].queued {
			nodes |= 1 << i
		}
	}
	return nodes
}

// freeIn is when enough nodes will be free by themselves, as far as refusals
// told; zero if they are free already, or nobody knows.
func (a *Attempt) freeIn() time.Duration {
	return a.enough(func(s *seat) (time.Duration, bool) {
		return s.waitFor(), s.outcome == Refused
	})
}

// healsIn is when enough nodes that are barred for a known time may vote again,
// if the others are too few only for that; zero if that is not so.
func (a *Attempt) healsIn() time.Duration {
	const never = time.Duration(1<<63 - 1)
	wait := a.enough(func(s *seat) (time.Duration, bool) {
		if s.outcome == Barred && s.wait > 0 {
			return s.waitFor(), true
		}
		return never, s.outcome.failed()
	})
	if wait == never {
		return 0
	}
	return wait
}

// enough is the shortest time after which a quorum of nodes is rid of what keeps
// them, if each is rid of it after the time that kept gives.
func (a *Attempt) enough(kept func(*seat) (time.Duration, bool)) time.Duration {
	var buf [MaxNodes]time.Duration
	waits := buf[:0]
	for i := range a.seats {
		if wait, is := kept(&a.seats[i]); is {
			waits = append(waits, wait)
		}
	}
	needed := a.cfg.Quorum - (a.cfg.Nodes - len(waits))
	if needed <= 0 {
		return 0
	}
	slices.Sort(waits)
	return waits[needed-1]
}
