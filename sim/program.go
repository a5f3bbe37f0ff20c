package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// user plans the next thing a client's program does; it is off if the program
// gets to another state before.
func (w *world) user(c *client, kind eventKind, in time.Duration) {
	w.push(kind, c.id, c.gen, c.epoch, w.now+Time(max(0, in)))
}

// span draws a duration of the program's.
func (w *world) span(c *client, mean time.Duration) time.Duration {
	if c.work.Exact {
		return mean
	}
	return time.Duration(w.choose.exponential(w.clientStream(c), int64(mean)))
}

// idle lets the program think, and ask again if it wants more.
func (w *world) idle(c *client) {
	w.become(c, thinking)
	w.stopWaiting(c)
	ended := c.current
	c.current = nil
	if c.work.Users > 1 {
		w.thinkInLine(c)
		if len(c.line) > 0 {
			var pause time.Duration
			if ended != nil && ended.machine != nil {
				pause = ended.machine.Pause(w.local(c))
			}
			c.from = w.now + Time(pause)
			w.user(c, evLock, pause)
		}
		return
	}
	if c.work.Idle || w.closing || c.work.Times > 0 && c.leases >= c.work.Times {
		return
	}
	w.user(c, evLock, max(1, w.span(c, c.work.Think)))
}

// lock is the program's call of Lock.
func (w *world) lock(c *client) {
	if w.closing {
		return
	}
	c.waiter = protocol.Waiter{Config: c.cfg}
	c.asked, c.place, c.placed, c.owner = c.stepForward(w.now), place{}, 0, 0
	w.signal(c.id, "asks")
	w.begin(c)
	w.patience(c)
}

// patience plans the moment at which the program's context ends its waiting.
func (w *world) patience(c *client) {
	if c.work.Patience > 0 && !w.healed {
		w.user(c, evCancel, max(0, c.work.Patience-time.Duration(w.now-c.asked)))
	}
}

// cancel is what Lock does when its context ends.
func (w *world) cancel(c *client) {
	w.stats.Cancelled++
	a := c.current
	w.idle(c)
	if a != nil && !a.over {
		a.over, a.ended = true, w.now
		w.step(a, protocol.Input{Kind: protocol.Relinquish})
		w.step(a, protocol.Input{Kind: protocol.Take})
	}
}

// handover is the moment at which Lock returns.
func (w *world) handover(c *client) {
	a := c.current
	if !w.cfg.Without.Has(CheckAtHandover) {
		w.step(a, protocol.Input{Kind: protocol.Take})
	}
	if a.over {
		return
	}
	a.taken = true
	c.leases++
	w.stats.Acquired++
	waited := time.Duration(w.now - c.asked)
	w.stats.Waited += waited
	w.stats.LongestWait = max(w.stats.LongestWait, waited)
	if w.healed {
		c.wins++
	}
	w.become(c, holding)
	w.stopWaiting(c)
	w.noteTaken(a)
	w.checkTaken(a)
	if c.work.WriteEvery > 0 {
		w.user(c, evCheck, 0)
	}
	if c.work.ExtendBy > 0 {
		w.user(c, evExtend, c.work.Hold/2)
	}
	hold := w.span(c, c.work.Hold)
	if w.closing || w.healed {
		hold = min(hold, c.cfg.RetryMin)
	}
	w.user(c, evUnlock, hold)
	w.signal(c.id, "takes")
}

// valid is the program's look at Lease.Err: it reads the clock itself.
func (w *world) valid(a *attempt) bool {
	if !a.over && w.local(a.client) >= a.until {
		w.step(a, protocol.Input{Kind: protocol.Tick})
	}
	return !a.over
}

// look is the first half of a write: the holder makes sure of its lease. Between
// it and the second half anything may happen, and no lock can help it.
func (w *world) look(c *client) {
	a := c.current
	if !w.valid(a) {
		return
	}
	w.signal(c.id, "checks")
	stream := w.clientStream(c)
	w.push(evWrite, c.id, a.id, c.epoch, w.now+Time(w.choose.exponential(stream, int64(w.cfg.TakesLong))))
	w.user(c, evCheck, w.span(c, c.work.WriteEvery)+1)
}

// write sends a write, with its token, to the resource.
func (w *world) write(c *client, a *attempt) {
	w.signal(c.id, "writes")
	slow := w.stores[c.id].slow
	w.stats.Writes++
	w.push(evArrive, c.id, a.id, w.noteWrite(a), w.now+Time(w.cfg.Latency)+Time(slow))
}

// unlock is the program's call of Unlock.
func (w *world) unlock(c *client) {
	a := c.current
	if a.renewing && c.work.ExtendBy > 0 {
		a.renewing = false
	}
	if w.pass(c) || a.over {
		return
	}
	w.become(c, unlocking)
	w.noteAttempt(a, "unlocks")
	w.step(a, protocol.Input{Kind: protocol.Relinquish})
	if !a.over { // not lost in that very step
		a.over, a.ended = true, w.now
		w.endHold(a)
		w.signal(c.id, "unlocks")
		return
	}
	if c.state == unlocking {
		w.idle(c)
	}
}

// extend is the program's call of Extend.
func (w *world) extend(c *client) {
	if a := c.current; w.valid(a) {
		w.step(a, protocol.Input{Kind: protocol.Prolong, TTL: c.work.ExtendBy})
	}
}

// nudge makes a program ask at once, if it does not have the lock.
func (w *world) nudge(c *client) {
	if c.down+c.paused+c.suspended > 0 {
		return
	}
	switch c.state {
	case thinking:
		if c.work.Users <= 1 || len(c.line) > 0 {
			c.gen++
			w.lock(c)
		}
	case waiting:
		c.gen++
		w.begin(c)
		w.patience(c)
	}
}
