package redlock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// attempt drives one protocol.Attempt: it carries its requests to the nodes in
// parallel, the votes back to it, and its verdicts to whoever waits for them. It
// decides nothing and reckons nothing.
//
// Whatever happens, a caller's call, a vote or the timer, becomes one step of
// the machine. What the step wants done is done under mu, but for requests and
// events: those leave once mu is free, since a node or an observer may call back.
//
// One that is held keeps little: there may be many of them.
type attempt struct {
	group *group
	cfg   *protocol.Config
	ttl   time.Duration
	key   string
	owner string

	until atomic.Int64 // end of validity, for Remaining
	over  atomic.Bool  // the latest lease has ended
	busy  atomic.Int32 // the machine, until it has finished, and each call to a node

	due  protocol.Instant // of the next tick, and its place among the timers
	rank int32

	waited  bool // it had a place in the nodes' queues
	sending bool // under mu: a goroutine sends what is to be sent
	taken   bool // under mu: its user has the latest lease
	kept    bool // it was a lease, and has finished without knowing a majority free of it

	mu        sync.Mutex
	caller    context.Context   // whose values calls, events and the latest lease have
	machine   *protocol.Attempt // nil once it has finished and every call is answered
	line      *line             // at whose head its user is; nil once it left
	out       *calls            // to be sent
	round     *round            // the first one, until it is won; later, once a node did not grant
	extending chan struct{}     // held by the Extend under way
	lease     *Lease            // once won, the latest
	ending    *ending           // once the lease, or the attempt to get one, is given up
	prolonged chan error        // of the Extend under way
}

// round is what a held lease has no need of.
type round struct {
	votes   []NodeVote    // the latest answers; once it is won, those that were no grants
	place   Place         // in the nodes' queues, if it has one there
	decided chan struct{} // told once when it is won or lost, if it is the first
	failure protocol.Failure
	err     error // that it was lost
}

// newRoundsPool makes a pool of first rounds: most are won soon, and used again.
func newRoundsPool() *sync.Pool {
	return &sync.Pool{New: func() any { return &round{decided: make(chan struct{}, 1)} }}
}

// newMachinesPool makes a pool of machines, which are used again once they have
// finished. A lease that is over has none.
func newMachinesPool(cfg *protocol.Config) *sync.Pool {
	return &sync.Pool{New: func() any {
		m := protocol.New(cfg)
		return &m
	}}
}

func (r *round) empty() *round {
	clear(r.votes)
	r.place = Place{}
	return r
}

// ending is the giving up of a lease.
type ending struct {
	why  error // ErrReleased or ErrClosed
	at   time.Duration
	done sync.WaitGroup // of one: until the release is confirmed, or is known not to be
	err  error          // that it was not
}

// errands is what a step leaves to be done once the attempt is unlocked.
type errands struct {
	now      protocol.Instant // of the step
	caller   context.Context  // whose values the events carry
	events   []Event
	left     *line
	from     protocol.Instant // who comes next in it asks no node before
	unlocked *ending          // done once the line was left: who locks again at once shall not stand in it
	send     bool
	done     bool
}

func newAttempt(ctx context.Context, l *Locker, key, owner string) *attempt {
	a := &attempt{
		group:   l.group,
		cfg:     &l.cfg,
		ttl:     l.opts.TTL,
		key:     key,
		owner:   owner,
		caller:  ctx,
		round:   l.group.rounds.Get().(*round),
		machine: l.group.machines.Get().(*protocol.Attempt),
	}
	a.machine.Renew(&l.cfg)
	a.busy.Store(1)
	return a
}

// await waits for the verdict of the first round and hands the lease over. From
// then on it is the lease that stands at the head of the line, if there is one.
func (a *attempt) await(ctx context.Context, called time.Duration, ln *line) (*Lease, error) {
	a.mu.Lock()
	first := a.round
	a.mu.Unlock()
	told := false
	if first != nil && first.decided != nil {
		select {
		case <-first.decided:
			told = true
		case <-ctx.Done():
			a.relinquish(ErrReleased)
		case <-a.group.closing: // also where Close came before the round began
			a.relinquish(ErrClosed)
		}
	}
	now := a.group.now()
	a.mu.Lock()
	var e errands
	a.stepLocked(now, protocol.Input{Kind: protocol.Take}, &e)
	lease := a.lease
	var err error
	if a.round != nil {
		err = a.round.err
	}
	switch {
	case a.ending != nil && a.ending.why == ErrClosed: //nolint:errorlint // set by relinquish
		err = fmt.Errorf("redlock: %w", ErrClosed)
	case a.ending != nil && err == nil: // won at the last moment, and given up
		err = fmt.Errorf("redlock: %q: %w", a.key, endedBy(ctx))
	case err == nil:
		lease.handed = time.Duration(now)
		a.line, a.taken = ln, true
	}
	if err == nil && lease.ended != nil {
		a.leaveLine(&e) // lost already
	}
	a.mu.Unlock()
	a.run(&e)
	if err != nil {
		return nil, endedWaiting(ctx, err)
	}
	if told {
		a.group.rounds.Put(first.empty()) // the attempt has let go of it
	}
	a.acquired(lease, called)
	return lease, nil
}

func (a *attempt) acquired(lease *Lease, called time.Duration) {
	if a.group.observer != nil {
		a.group.observe(lease.caller, Event{Kind: EventAcquired, Key: a.key, Owner: a.owner, Token: lease.token,
			Latency: lease.handed - called, Remaining: a.validFor()})
	}
}

// step feeds one input to the machine and does what it says.
func (a *attempt) step(in protocol.Input) {
	now := a.group.now()
	a.mu.Lock()
	var e errands
	a.stepLocked(now, in, &e)
	a.mu.Unlock()
	a.run(&e)
}

var outputsPool = sync.Pool{New: func() any { return new([]protocol.Output) }}

func (a *attempt) stepLocked(now protocol.Instant, in protocol.Input, e *errands) {
	e.now, e.caller = now, a.caller
	if a.machine == nil {
		return
	}
	outputs := outputsPool.Get().(*[]protocol.Output)
	*outputs = a.machine.Step(now, in, (*outputs)[:0])
	for i := range *outputs {
		a.act(&(*outputs)[i], e)
	}
	clear(*outputs)
	outputsPool.Put(outputs)
	e.send = a.out != nil
}

// act does one output.
func (a *attempt) act(out *protocol.Output, e *errands) {
	switch out.Kind {
	case protocol.Send:
		if a.round != nil && a.round.votes != nil {
			a.round.votes[out.Node] = NodeVote{}
		}
		if a.out == nil {
			a.out = a.group.calls.Get().(*calls)
			a.out.attempt = a
		}
		a.out.add(a, out, e.now)
	case protocol.SetTimer:
		a.group.timers.set(a, out.At)
	case protocol.Won:
		a.won(out, e)
	case protocol.Failed:
		a.failed(out, e)
	case protocol.Renewed:
		a.until.Store(int64(out.Until))
		a.event(e, Event{Kind: EventRenewed, Token: a.lease.token, Remaining: out.Until.Sub(e.now)})
	case protocol.Prolonged:
		a.answerExtend(nil)
	case protocol.NotProlonged:
		a.answerExtend(a.notProlonged(out))
	case protocol.Passed:
		a.end(ErrReleased, e.now)
		a.over.Store(false)
		a.until.Store(int64(out.Until))
		if a.taken {
			a.event(e, Event{Kind: EventReleased, Token: a.lease.token, Held: a.heldFor(e.now)})
		}
		a.taken = false
		a.lease = &Lease{attempt: a, token: out.Token, caller: a.caller, handed: time.Duration(e.now)}
	case protocol.Lost:
		err := fmt.Errorf("redlock: %q: %w: %v", a.key, ErrLost, out.Reason)
		a.end(err, e.now)
		a.event(e, Event{Kind: EventLost, Token: a.lease.token, Held: a.heldFor(e.now), Err: err})
		a.leaveLine(e)
	case protocol.Released:
		a.confirmed(nil, e)
	case protocol.NotReleased:
		a.confirmed(a.quorumError("unlock", ErrNoQuorum, out.Votes), e)
	case protocol.Finished:
		e.done = true
		a.kept = a.lease != nil && !out.Free
	}
}

// run does a step's errands.
func (a *attempt) run(e *errands) {
	if e.send {
		a.send()
	}
	for _, event := range e.events {
		a.group.observe(e.caller, event)
	}
	if e.left != nil {
		a.group.lines.leave(a.key, e.left, e.from)
	}
	if e.unlocked != nil {
		e.unlocked.done.Done()
	}
	if e.done {
		a.rest()
	}
}

// rest is called by whatever was busy. After the last of them Close waits no
// longer.
func (a *attempt) rest() {
	if a.busy.Add(-1) != 0 {
		return
	}
	a.mu.Lock()
	a.group.machines.Put(a.machine)
	a.machine = nil
	a.mu.Unlock()
	a.group.remove(a)
}

// end ends the lease's context, before the releases leave: the work shall stop
// before others begin. Cancelling runs no code of the user's here.
func (a *attempt) end(why error, now protocol.Instant) {
	a.over.Store(true)
	a.until.Store(min(a.until.Load(), int64(now)))
	a.lease.ended = why
	if a.lease.cancel != nil {
		a.lease.cancel(a.lease.why())
	}
}

// leaveLine makes way for the next caller of this Locker who wants the key.
func (a *attempt) leaveLine(e *errands) {
	e.left, a.line = a.line, nil
	if a.machine != nil {
		e.from = e.now.Add(a.machine.Pause(e.now))
	}
}

func (a *attempt) won(out *protocol.Output, e *errands) {
	a.until.Store(int64(out.Until))
	a.lease = &Lease{attempt: a, token: out.Token, caller: a.caller, handed: time.Duration(e.now)}
	a.event(e, Event{Kind: EventRound, Token: out.Token, Latency: a.slowestVote()})
	a.round.decided <- struct{}{} // has room for one
	a.round = nil
}

// failed is told of a round that was lost, or of a lease that was won and came
// too late into its user's hands.
func (a *attempt) failed(out *protocol.Output, e *errands) {
	sentinel := ErrNoQuorum
	switch reason := out.Failure.Reason; {
	case reason == protocol.Contended, reason == protocol.Cancelled && slices.Contains(out.Votes, protocol.Refused):
		sentinel = ErrNotAcquired
	case reason == protocol.TooSlow:
		sentinel = fmt.Errorf("%w: %v", ErrNoQuorum, reason)
	}
	var err error = a.quorumError("lock", sentinel, out.Votes)
	if out.Failure.Reason == protocol.Cancelled {
		err = endedWaiting(a.caller, err) // so that observers see it is no verdict
	}
	if a.round == nil {
		a.round = new(round)
	}
	a.round.failure, a.round.err = out.Failure, err
	a.event(e, Event{Kind: EventRound, Latency: out.Failure.Elapsed, Err: err})
	if a.lease != nil {
		a.end(err, e.now)
		a.leaveLine(e)
		return
	}
	a.round.decided <- struct{}{} // has room for one
}

// failure is why the attempt was not won; it has no reason if it was, too late.
func (a *attempt) failure() protocol.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.round == nil {
		return protocol.Failure{}
	}
	return a.round.failure
}

// confirmed is told that the release is through, or that it is not yet.
func (a *attempt) confirmed(err error, e *errands) {
	a.ending.err = err
	if a.taken {
		a.event(e, Event{Kind: EventReleased, Token: a.lease.token, Held: a.ending.at - a.lease.handed,
			Latency: time.Duration(e.now) - a.ending.at, Err: err})
	}
	e.unlocked = a.ending
	a.leaveLine(e)
}

// relinquish gives the lease up, or the attempt to get one. The first call, or a
// loss before it, says why.
func (a *attempt) relinquish(why error) {
	a.mu.Lock()
	var e errands
	a.relinquishLocked(why, &e)
	a.mu.Unlock()
	a.run(&e)
}

func (a *attempt) relinquishLocked(why error, e *errands) {
	if a.ending != nil || a.over.Load() {
		return
	}
	now := a.group.now()
	a.ending = &ending{why: why, at: time.Duration(now)}
	a.ending.done.Add(1)
	a.stepLocked(now, protocol.Input{Kind: protocol.Relinquish}, e)
	if a.lease != nil && !a.over.Load() { // not lost in that very step
		a.end(why, now)
	}
}

// unlock ends a lease: it is passed on to the next of this Locker's callers who
// wants the key, if there is one, or released. It gives what there is to wait for,
// if anything.
func (a *attempt) unlock(l *Lease) *ending {
	a.mu.Lock()
	var e errands
	if a.lease == l && l.ended == nil && !(a.line != nil && a.pass(&e)) {
		a.relinquishLocked(ErrReleased, &e)
	}
	var end *ending
	if a.lease == l {
		end = a.ending
	}
	a.mu.Unlock()
	a.run(&e)
	return end
}

// pass has the next caller in the line get the lease, if the protocol allows it.
func (a *attempt) pass(e *errands) bool {
	return a.group.lines.pass(a.line, func() *Lease {
		before := a.lease
		a.stepLocked(a.group.now(), protocol.Input{Kind: protocol.Pass}, e)
		if a.lease == before {
			return nil
		}
		return a.lease
	})
}

// close ends the attempt for Locker.Close.
func (a *attempt) close() {
	a.relinquish(ErrClosed)
	a.step(protocol.Input{Kind: protocol.Drain})
}

// prolong asks for more validity of a lease and gives where the answer will come.
func (a *attempt) prolong(l *Lease, ttl time.Duration) <-chan error {
	done := make(chan error, 1)
	a.mu.Lock()
	if l.ended != nil {
		done <- l.why()
		a.mu.Unlock()
		return done
	}
	a.prolonged = done
	var e errands
	a.stepLocked(a.group.now(), protocol.Input{Kind: protocol.Prolong, TTL: ttl}, &e)
	a.mu.Unlock()
	a.run(&e)
	return done
}

func (a *attempt) answerExtend(err error) {
	if a.prolonged != nil {
		a.prolonged <- err // has room for the one answer
		a.prolonged = nil
	}
}

func (a *attempt) notProlonged(out *protocol.Output) error {
	switch {
	case out.Reason == protocol.HeldTooLong:
		return fmt.Errorf("redlock: extend %q: MaxHold ends the lease before that", a.key)
	case out.Reason == protocol.Cancelled: // the lease is passed on
		return fmt.Errorf("redlock: extend %q: %w", a.key, ErrReleased)
	case out.Reason != protocol.NotHeld:
		return a.quorumError("extend", ErrNoQuorum, out.Votes)
	case a.ending != nil:
		return fmt.Errorf("redlock: extend %q: %w", a.key, a.ending.why)
	}
	return fmt.Errorf("redlock: extend %q: %w", a.key, ErrLost)
}

// heldFor is how long the user has had the lease.
func (a *attempt) heldFor(now protocol.Instant) time.Duration {
	return time.Duration(now) - a.lease.handed
}

// event is an errand, if anybody is told.
func (a *attempt) event(e *errands, event Event) {
	if a.group.observer != nil {
		event.Key, event.Owner = a.key, a.owner
		e.events = append(e.events, event)
	}
}

// send lets requests leave in the order in which they were asked for: whoever
// finds nobody at it does it for all.
func (a *attempt) send() {
	a.mu.Lock()
	if a.sending {
		a.mu.Unlock()
		return
	}
	a.sending = true
	for a.out != nil {
		out, caller := a.out, a.caller
		a.out = nil
		a.busy.Add(int32(len(out.list)))
		a.mu.Unlock()
		out.send(caller)
		a.mu.Lock()
	}
	a.sending = false
	a.mu.Unlock()
}
