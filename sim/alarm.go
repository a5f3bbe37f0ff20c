package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// The timer of an attempt and the deadlines of its calls share one event, the
// alarm, which is left alone when they move to later. Most of them come to
// nothing, since answers come before.

// arm makes sure that an attempt's alarm rings at a moment, or before.
func (w *world) arm(a *attempt, at Time) {
	if at >= a.alarm {
		return
	}
	a.alarm = at
	a.alarmGen++
	w.push(evAlarm, a.client.id, a.id, a.alarmGen, at)
}

// armTimer plans for an attempt's timer. One that is due already fires a little
// later, as real ones do; without that a mutant that never settles would stop time.
func (w *world) armTimer(a *attempt) {
	if a.wake = never; a.timer == 0 {
		return
	}
	if a.wake = w.trueTime(a.client, a.timer); a.wake <= w.now {
		a.wake = w.now + Time(time.Millisecond)
	}
	w.arm(a, a.wake)
}

// armCalls plans for the deadlines of an attempt's calls.
func (w *world) armCalls(a *attempt) {
	a.lapse = never
	for i := range a.calls {
		a.lapse = min(a.lapse, w.trueTime(a.client, a.calls[i].deadline))
	}
	w.arm(a, a.lapse)
}

// rearm follows a change of the client's clocks.
func (w *world) rearm(c *client) {
	for _, a := range c.active {
		a.alarm = never
		w.armTimer(a)
		w.armCalls(a)
	}
}

// ring is an alarm: what is due happens, and it is set to what is due next. It
// reports false if nothing was.
func (w *world) ring(a *attempt) (happened bool) {
	a.alarm = never
	if a.lapse <= w.now {
		happened = w.timeout(a)
		w.armCalls(a)
	}
	if a.wake <= w.now {
		happened = w.fire(a) || happened
	}
	w.arm(a, min(a.wake, a.lapse))
	return happened
}

// timeout answers the calls whose time is over, as their context does.
func (w *world) timeout(a *attempt) (happened bool) {
	now := w.local(a.client)
	for i := 0; i < len(a.calls); {
		called := a.calls[i]
		if called.deadline > now {
			i++
			continue
		}
		a.calls = append(a.calls[:i], a.calls[i+1:]...)
		w.step(a, protocol.Input{Kind: protocol.Voted, Node: called.node, Request: called.id, Op: called.op,
			Vote: protocol.Vote{Outcome: protocol.Unknown}})
		happened = true
	}
	return happened
}

// fire is an attempt's timer. A clock that was slowed down meanwhile is waited for.
func (w *world) fire(a *attempt) (happened bool) {
	if w.local(a.client) < a.timer {
		w.armTimer(a)
		return false
	}
	a.wake = never
	w.step(a, protocol.Input{Kind: protocol.Tick})
	return true
}
