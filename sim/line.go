package sim

import (
	"github.com/quorumlock/redlock/internal/protocol"
)

// The users of one client stand in line for its key, as the callers of a Locker do:
// one of them asks the nodes or holds the lock. Whoever is done passes the lease on
// to the next, if the protocol lets it.

// arriveInLine is a user that wants the lock.
func (w *world) arriveInLine(c *client) {
	if w.closing {
		return
	}
	c.line = append(c.line, w.now)
	if c.state == thinking && w.now >= c.from {
		w.lock(c)
		return
	}
	c.shared = true
}

// stepForward gives since when the next user has waited, and takes it out of the
// line.
func (c *client) stepForward(now Time) Time {
	if len(c.line) == 0 {
		return now
	}
	asked := c.line[0]
	c.line = append(c.line[:0], c.line[1:]...)
	c.shared = len(c.line) > 0
	return asked
}

// wants is how many users a lease that is asked for now may be passed on to.
func (w *world) wants(c *client) uint64 {
	if !c.shared {
		return 0
	}
	return uint64(max(0, w.cfg.Handoffs))
}

// pass hands the lease to the next in line, and reports false if nobody wants it or
// the protocol does not allow it.
func (w *world) pass(c *client) bool {
	a := c.current
	if len(c.line) == 0 {
		return false
	}
	w.step(a, protocol.Input{Kind: protocol.Pass})
	return a.heir != nil
}

// passed makes an attempt of its own of a lease that was passed on, for the checkers:
// they judge it like any other lease. Whatever is under way for the old one is for
// the new one now.
func (w *world) passed(a *attempt, out *protocol.Output) {
	c := a.client
	w.stats.Passed++
	w.noteAttempt(a, "passes the lease on")
	w.endHold(a)
	b := new(attempt)
	*b = *a
	b.id, b.since, b.floor = uint32(len(w.attempts)+1), w.now, w.judge.returned
	b.won, b.taken, b.passed, b.handed, b.bar, b.alarm = false, false, true, 0, 0, never
	w.attempts = append(w.attempts, b)
	a.over, a.finished, a.ended, a.heir = true, true, w.now, b
	a.engine = engine{}
	for i := range c.active {
		if c.active[i] == a {
			c.active[i] = b
		}
	}
	w.armTimer(b)
	w.armCalls(b)
	w.thinkInLine(c)
	c.current, c.place, c.waiter = b, place{}, protocol.Waiter{Config: c.cfg}
	c.asked = c.stepForward(w.now)
	w.become(c, acquiring)
	w.signal(c.id, "passes")
	w.won(b, out)
}

// thinkInLine plans when the user who is done comes back.
func (w *world) thinkInLine(c *client) {
	if !c.work.Idle && !w.closing && (c.work.Times == 0 || c.leases < c.work.Times) {
		w.push(evJoin, c.id, 0, c.epoch, w.now+Time(max(1, w.span(c, c.work.Think))))
	}
}

// last is the attempt that goes on with what an attempt began.
func (a *attempt) last() *attempt {
	for a.heir != nil {
		a = a.heir
	}
	return a
}
