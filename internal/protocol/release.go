package protocol

// relinquish ends the attempt for its user: an unlock, or a wait given up.
func (a *Attempt) relinquish(now Instant) {
	switch a.phase {
	case idle:
		a.phase = ending
	case acquiring, confirming:
		a.fail(now, Cancelled)
	case held:
		a.unlocking = true
		if a.extendGoal != 0 {
			a.out = append(a.out, Output{Kind: NotProlonged, Reason: NotHeld, Votes: a.outcomes()})
		}
		a.end(now)
	}
}

// end starts to give back whatever any node may hold. A node that refused and
// was asked nothing since holds nothing. Where others have the key, so will most
// nodes that have yet to answer the first round, so their answers are waited for.
func (a *Attempt) end(now Instant) {
	a.phase = ending
	a.nextRenew, a.extendGoal = 0, 0
	// A grant that is not released in that time has most likely expired by
	// then. A node that was frozen meanwhile may keep one for a TTL more.
	a.giveUp = now.Add(a.longest)
	// A waiter needs a quorum of calls, and one to spare. More would only cost.
	calls := a.cfg.Quorum + 1
	for i := range a.seats {
		s := &a.seats[i]
		if a.patient && s.asked() {
			continue
		}
		if s.granted || s.mayHold() && !a.cfg.without(ReleaseUnknown) {
			a.release(now, i, calls > 0)
			calls--
		}
	}
}

// release tells a node, with the hint if it was asked for nothing but the first
// acquire: then the grant, if there is one, is as that left it.
func (a *Attempt) release(now Instant, node int, wake bool) {
	req := Request{Op: Release, Wake: wake}
	if int(a.seats[node].id) <= a.cfg.Nodes { // start sent it, and nothing was sent since
		req.Hint = a.hint
	}
	a.send(now, node, req)
}

// concludeEnd sends the releases that are due, tells the user when a majority
// is free of the owner, and finishes when nothing is left.
func (a *Attempt) concludeEnd(now Instant) {
	free, waiting, busy := 0, 0, a.due > 0
	for i := range a.seats {
		s := &a.seats[i]
		if s.retryAt != 0 && now >= s.retryAt {
			a.release(now, i, true)
		}
		switch {
		case !s.mayHold() && !s.outcome.failed():
			free++
		case s.waiting():
			waiting++
		}
		busy = busy || s.waiting() || s.retryAt != 0
	}
	if a.unlocking && free >= a.cfg.Quorum {
		a.unlocking = false
		a.out = append(a.out, Output{Kind: Released})
	}
	if a.unlocking && free+waiting < a.cfg.Quorum {
		a.unlocking = false
		a.out = append(a.out, Output{Kind: NotReleased, Reason: NoQuorum, Votes: a.outcomes()})
	}
	if !busy {
		a.phase = finished
		a.out = append(a.out, Output{Kind: Finished, Free: free >= a.cfg.Quorum})
	}
}

// releaseVoted files the answer to a release.
func (a *Attempt) releaseVoted(now Instant, s *seat, v Vote) {
	if v.Outcome != Granted {
		a.releaseFailed(now, s)
		return
	}
	s.free()
}

// releaseFailed plans another try, each after twice the time, or gives up. To make an
// end, only what failed at once and for the first time is tried again.
func (a *Attempt) releaseFailed(now Instant, s *seat) {
	if s.retryAt != 0 {
		return // the deadline passed first, and the try is planned already
	}
	next, last := now.Add(a.cfg.NodeTimeout<<s.tries), false
	if a.draining {
		next, last = a.lastTry(now, s), s.tries > 0 || now >= s.deadline(a.cfg)
	}
	s.tries = min(s.tries+1, manyTries)
	if last || next > a.giveUp {
		s.free()
		return
	}
	s.retryAt = next
}

// lastTry is when a node that failed is told for the last time: long enough after the
// time before that what ails it may be over.
func (a *Attempt) lastTry(now Instant, s *seat) Instant {
	return max(now, s.sent.Add(a.cfg.NodeTimeout/4))
}

// drain makes an end of the retries: each release that is still due is tried once
// more, and soon.
func (a *Attempt) drain(now Instant) {
	switch a.phase {
	case idle, acquiring, confirming, held:
		a.relinquish(now)
	}
	a.draining = true
	for i := range a.seats {
		s := &a.seats[i]
		if a.phase == ending && s.asked() {
			s.retryAt = now
		}
		if s.retryAt != 0 {
			s.retryAt = min(s.retryAt, a.lastTry(now, s))
		}
	}
}
