package protocol

import (
	"slices"
	"time"
)

// validity is the latest instant at which a quorum of nodes certainly has the
// grant: the quorum-th largest of the nodes' expiries. While it lasts, any other
// attempt lacks the votes of that quorum.
func (a *Attempt) validity() Instant {
	var buf [MaxNodes]Instant
	expiries := buf[:0]
	for i := range a.seats {
		if a.seats[i].granted {
			expiries = append(expiries, a.seats[i].expiry)
		}
	}
	if len(expiries) < a.cfg.Quorum {
		return 0
	}
	slices.Sort(expiries)
	until := expiries[len(expiries)-a.cfg.Quorum]
	if a.holdEnd != 0 {
		until = min(until, a.holdEnd)
	}
	return until
}

// expired says that the lease has no validity left.
func (a *Attempt) expired(now Instant) bool {
	if a.cfg.without(EndForGood) || !a.taken && a.cfg.without(CheckAtHandover) {
		return false
	}
	return now >= a.until
}

// concludeHold works out the validity anew, ends the lease if there is none
// left, and renews it when that is due.
func (a *Attempt) concludeHold(now Instant) {
	until := a.validity()
	if until != a.until {
		a.until = until
		if until > now {
			a.out = append(a.out, Output{Kind: Renewed, Until: until})
		}
	}
	if a.expired(now) {
		a.lose(now, GrantsGone)
		return
	}
	for i := range a.seats {
		if a.seats[i].rejoin {
			a.ask(now, i, a.seats[i].ttl)
		}
	}
	a.concludeProlong()
	a.concludeRenewal(now)
	a.concludeHealing(now)
}

// concludeRenewal goes back to the absolute schedule once a renewal has reached
// its goal, and starts the next when it is due. A renewal that has not come
// through is tried again well before the schedule's next point: one lost reply
// is not a lost lock. It waits for an extension of the user's that is under way,
// whose requests it would take the place of.
func (a *Attempt) concludeRenewal(now Instant) {
	if !a.renewing() {
		return
	}
	period := renewEvery(a.ttl)
	if a.renewGoal != 0 && a.until >= a.renewGoal {
		a.renewGoal = 0
		if late := now.Sub(a.renewal); late >= 0 {
			a.renewal = a.renewal.Add((late/period + 1) * period)
		}
		a.nextRenew = a.renewal
	}
	if now < a.nextRenew {
		return
	}
	a.nextRenew = now.Add(max(period/4, a.cfg.NodeTimeout))
	a.renewGoal = a.goal(now, a.ttl)
	a.askAll(now, a.ttl)
}

// renewing says that nextRenew is to be kept. It is not while MaxHold lets nothing
// make the lease longer: the schedule stands until the lease is passed on.
func (a *Attempt) renewing() bool {
	return a.nextRenew != 0 && a.extendGoal == 0 && (a.holdEnd == 0 || a.until < a.holdEnd)
}

// concludeHealing asks the nodes without a grant whose time has come, which is not
// before the timer.
func (a *Attempt) concludeHealing(now Instant) {
	if now < a.timer || !a.bare() {
		return
	}
	for i := range a.seats {
		if at := a.healAt(i); at != 0 && now >= at {
			a.ask(now, i, a.ttl)
		}
	}
}

// bare says that no grant is to spare, nor any in sight: any that goes takes the lease
// with it. While answers are waited for that may change that, or an extension of the
// user's has asked all nodes, it is too early to say.
func (a *Attempt) bare() bool {
	hoped := 0
	for i := range a.seats {
		if a.seats[i].granted || a.seats[i].waiting() {
			hoped++
		}
	}
	return hoped <= a.cfg.Quorum && a.extendGoal == 0
}

// healAt is when a bare lease asks a node without a grant for one before the first
// renewal; zero for never. That is early in the period, and then each time after twice
// as long: a node that others had a moment ago is soon free, and one that stays away
// costs four requests. MaxHold is no reason not to ask: it makes nothing longer.
func (a *Attempt) healAt(node int) Instant {
	s, period := &a.seats[node], renewEvery(a.ttl)
	since := max(period/16, 2*s.sent.Sub(a.started))
	if s.granted || a.nextRenew == 0 || since >= period {
		return 0
	}
	return a.started.Add(since)
}

// goal is the validity that a quorum of yes to a TTL from now would give.
func (a *Attempt) goal(now Instant, ttl time.Duration) Instant {
	return now.Add(ttl - a.cfg.Margin(ttl))
}

func (a *Attempt) askAll(now Instant, ttl time.Duration) {
	for i := range a.seats {
		a.ask(now, i, ttl)
	}
}

// ask extends a node's grant, or asks for a new one where there is none. That
// heals a lease which is still valid on a majority; it never resurrects one,
// because every Step ends a lease that has run out before anything else. The
// hint is at least the token, so that a node which forgot the key learns it.
func (a *Attempt) ask(now Instant, node int, ttl time.Duration) {
	s := &a.seats[node]
	if s.granted {
		a.send(now, node, Request{Op: Extend, TTL: ttl, Fence: s.fence})
		return
	}
	hint := min(max(a.hint, a.token+a.spare, a.counter+1), MaxToken)
	a.send(now, node, Request{Op: Acquire, TTL: ttl, Hint: hint})
}

// prolong is the user's own extension. The driver starts one at a time.
func (a *Attempt) prolong(now Instant, ttl time.Duration) {
	if a.phase != held {
		a.out = append(a.out, Output{Kind: NotProlonged, Reason: NotHeld, Votes: a.outcomes()})
		return
	}
	goal := a.goal(now, ttl)
	switch {
	case a.holdEnd != 0 && goal > a.holdEnd:
		a.out = append(a.out, Output{Kind: NotProlonged, Reason: HeldTooLong, Until: a.until, Votes: a.outcomes()})
	case goal <= a.until:
		a.out = append(a.out, Output{Kind: Prolonged, Until: a.until}) // it lasts so long already
	default:
		a.extendGoal = goal
		a.askAll(now, ttl)
	}
}

// concludeProlong tells the user as soon as it is certain.
func (a *Attempt) concludeProlong() {
	if a.extendGoal == 0 {
		return
	}
	if a.until >= a.extendGoal {
		a.extendGoal = 0
		a.out = append(a.out, Output{Kind: Prolonged, Until: a.until})
		return
	}
	possible := 0
	for i := range a.seats {
		s := &a.seats[i]
		if s.waiting() || s.granted && s.expiry >= a.extendGoal {
			possible++
		}
	}
	if possible < a.cfg.Quorum {
		a.extendGoal = 0
		a.out = append(a.out, Output{Kind: NotProlonged, Reason: NoQuorum, Until: a.until, Votes: a.outcomes()})
	}
}

// expiryReason says why validity ended by itself.
func (a *Attempt) expiryReason() Reason {
	if a.holdEnd != 0 && a.until >= a.holdEnd {
		return HeldTooLong
	}
	return Expired
}

// lose ends a lease that its user did not end. One that never reached its user
// was not acquired.
func (a *Attempt) lose(now Instant, reason Reason) {
	if !a.taken {
		a.fail(now, TooSlow)
		return
	}
	a.out = append(a.out, Output{Kind: Lost, Reason: reason})
	if a.extendGoal != 0 {
		a.out = append(a.out, Output{Kind: NotProlonged, Reason: NotHeld, Votes: a.outcomes()})
	}
	a.end(now)
}
