package redlock

import (
	"context"
	"errors"
	"fmt"
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
type attempt struct {
	group *group
	cfg   *protocol.Config
	ttl   time.Duration
	key   string
	owner string
	ctx   context.Context // the caller's values; never ends

	until atomic.Int64 // end of validity, for Remaining
	over  atomic.Bool  // the lease has ended
	busy  atomic.Int32 // the machine, until it has finished, and each call to a node

	extending chan struct{} // held by the Extend under way
	decided   chan struct{} // closed once won or failed
	unlocked  chan struct{} // closed once the release is confirmed, or is known not to be

	mu        sync.Mutex
	machine   protocol.Attempt
	outputs   []protocol.Output // reused
	timer     Timer
	votes     []NodeVote // the latest answers
	lease     *Lease     // once won
	failure   protocol.Failure
	err       error         // why it was not won
	ending    error         // ErrReleased or ErrClosed, once the lease is given up
	released  time.Duration // when it was
	prolonged chan error    // of the Extend under way
	unlockErr error
}

// errands is what a step leaves to be done once the attempt is unlocked.
type errands struct {
	calls  []protocol.Output
	events []Event
	done   bool
}

func newAttempt(ctx context.Context, l *Locker, key, owner string) *attempt {
	a := &attempt{
		group:     l.group,
		cfg:       &l.cfg,
		ttl:       l.opts.TTL,
		key:       key,
		owner:     owner,
		ctx:       context.WithoutCancel(ctx),
		extending: make(chan struct{}, 1),
		decided:   make(chan struct{}),
		unlocked:  make(chan struct{}),
		machine:   protocol.New(&l.cfg),
		votes:     make([]NodeVote, len(l.group.nodes)),
	}
	a.busy.Store(1)
	return a
}

// await waits for the verdict of the first round and hands the lease over.
func (a *attempt) await(ctx context.Context, called time.Duration) (*Lease, error) {
	select {
	case <-a.decided:
	case <-ctx.Done():
		a.relinquish(ErrReleased)
	case <-a.group.closing:
		a.relinquish(ErrClosed)
	}
	a.step(protocol.Input{Kind: protocol.Take})
	a.mu.Lock()
	lease, err := a.lease, a.err
	switch {
	case a.ending == ErrClosed: //nolint:errorlint // set by relinquish
		err = fmt.Errorf("redlock: %w", ErrClosed)
	case a.ending != nil && err == nil: // won at the last moment, and given up
		err = fmt.Errorf("redlock: %q: %w", a.key, endedBy(ctx))
	case err == nil:
		lease.handed = a.group.clock.Now()
	}
	a.mu.Unlock()
	if err != nil {
		return nil, endedWaiting(ctx, err)
	}
	a.group.observe(a.ctx, Event{Kind: EventAcquired, Key: a.key, Owner: a.owner, Token: lease.token,
		Latency: lease.handed - called, Remaining: a.validFor()})
	return lease, nil
}

// step feeds one input to the machine and does what it says.
func (a *attempt) step(in protocol.Input) {
	a.mu.Lock()
	e := a.stepLocked(in)
	a.mu.Unlock()
	a.run(e)
}

func (a *attempt) stepLocked(in protocol.Input) errands {
	var e errands
	a.outputs = a.machine.Step(a.group.now(), in, a.outputs[:0])
	for i := range a.outputs {
		a.act(&a.outputs[i], &e)
	}
	return e
}

// act does one output.
func (a *attempt) act(out *protocol.Output, e *errands) {
	switch out.Kind {
	case protocol.Send:
		a.votes[out.Node] = NodeVote{Node: a.group.names[out.Node]}
		e.calls = append(e.calls, *out)
	case protocol.SetTimer:
		a.setTimer(out.At)
	case protocol.Won:
		a.won(out, e)
	case protocol.Failed:
		a.failed(out, e)
	case protocol.Renewed:
		a.until.Store(int64(out.Until))
		a.event(e, Event{Kind: EventRenewed, Token: a.lease.token, Remaining: out.Until.Sub(a.group.now())})
	case protocol.Prolonged:
		a.answerExtend(nil)
	case protocol.NotProlonged:
		a.answerExtend(a.notProlonged(out))
	case protocol.Lost:
		err := fmt.Errorf("redlock: %q: %w: %v", a.key, ErrLost, out.Reason)
		a.end(err)
		a.event(e, Event{Kind: EventLost, Token: a.lease.token, Held: a.heldFor(), Err: err})
	case protocol.Released:
		a.confirmed(nil, e)
	case protocol.NotReleased:
		a.confirmed(a.quorumError("unlock", ErrNoQuorum, out.Votes), e)
	case protocol.Finished:
		e.done = true
	}
}

// run does a step's errands.
func (a *attempt) run(e errands) {
	a.send(e.calls)
	for _, event := range e.events {
		a.group.observe(a.ctx, event)
	}
	if e.done {
		a.rest()
	}
}

// rest is called by whatever was busy. After the last of them Close waits no
// longer.
func (a *attempt) rest() {
	if a.busy.Add(-1) == 0 {
		a.group.remove(a)
	}
}

// end ends the lease's context, before the releases leave: the work shall stop
// before others begin. Cancelling runs no code of the user's here.
func (a *attempt) end(why error) {
	a.over.Store(true)
	a.until.Store(min(a.until.Load(), int64(a.group.now())))
	a.lease.cancel(why)
}

func (a *attempt) won(out *protocol.Output, e *errands) {
	ctx, cancel := context.WithCancelCause(a.ctx)
	a.until.Store(int64(out.Until))
	a.lease = &Lease{attempt: a, token: out.Token, ctx: ctx, cancel: cancel, handed: a.group.clock.Now()}
	a.event(e, Event{Kind: EventRound, Token: out.Token, Latency: a.slowestVote()})
	close(a.decided)
}

// failed is told of a round that was lost, or of a lease that was won and came
// too late into its user's hands.
func (a *attempt) failed(out *protocol.Output, e *errands) {
	a.failure = out.Failure
	sentinel := ErrNoQuorum
	if out.Failure.Reason == protocol.Contended || out.Failure.Reason == protocol.Cancelled {
		sentinel = ErrNotAcquired
	}
	if out.Failure.Reason == protocol.TooSlow {
		sentinel = fmt.Errorf("%w: %v", ErrNoQuorum, out.Failure.Reason)
	}
	a.err = a.quorumError("lock", sentinel, out.Votes)
	a.event(e, Event{Kind: EventRound, Latency: out.Failure.Elapsed, Err: a.err})
	if a.lease != nil {
		a.end(a.err)
		return
	}
	close(a.decided)
}

// confirmed is told that the release is through, or that it is not yet.
func (a *attempt) confirmed(err error, e *errands) {
	a.unlockErr = err
	a.event(e, Event{Kind: EventReleased, Token: a.lease.token, Held: a.released - a.lease.handed,
		Latency: a.group.clock.Now() - a.released, Err: err})
	close(a.unlocked)
}

// relinquish gives the lease up, or the attempt to get one. The first call, or a
// loss before it, says why.
func (a *attempt) relinquish(why error) {
	a.mu.Lock()
	if a.ending != nil || a.over.Load() {
		a.mu.Unlock()
		return
	}
	a.ending, a.released = why, a.group.clock.Now()
	e := a.stepLocked(protocol.Input{Kind: protocol.Relinquish})
	if a.lease != nil && !a.over.Load() { // not lost in that very step
		a.end(fmt.Errorf("redlock: %q: %w", a.key, why))
	}
	a.mu.Unlock()
	a.run(e)
}

// close ends the attempt for Locker.Close.
func (a *attempt) close() {
	a.relinquish(ErrClosed)
	a.step(protocol.Input{Kind: protocol.Drain})
}

// prolong asks for more validity and gives where the answer will come.
func (a *attempt) prolong(ttl time.Duration) <-chan error {
	done := make(chan error, 1)
	a.mu.Lock()
	a.prolonged = done
	e := a.stepLocked(protocol.Input{Kind: protocol.Prolong, TTL: ttl})
	a.mu.Unlock()
	a.run(e)
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
	case out.Reason != protocol.NotHeld:
		return a.quorumError("extend", ErrNoQuorum, out.Votes)
	case a.ending != nil:
		return fmt.Errorf("redlock: extend %q: %w", a.key, a.ending)
	}
	return fmt.Errorf("redlock: extend %q: %w", a.key, ErrLost)
}

// quorumError tells of the latest answers, with the outcomes as the machine saw
// them when it decided.
func (a *attempt) quorumError(op string, sentinel error, outcomes []protocol.Outcome) *QuorumError {
	votes := append([]NodeVote(nil), a.votes...)
	for i := range votes {
		votes[i].Node = a.group.names[i]
		votes[i].Outcome = Outcome(outcomes[i])
		if votes[i].Outcome == Unknown && votes[i].Err == nil {
			votes[i].Err = errNoAnswer
		}
	}
	return &QuorumError{Op: op, Key: a.key, Need: a.cfg.Quorum, Votes: votes, Err: sentinel}
}

var errNoAnswer = errors.New("no answer in time")

// setTimer has one timer at the most.
func (a *attempt) setTimer(at protocol.Instant) {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if at != 0 {
		a.timer = a.group.clock.AfterFunc(at.Sub(a.group.now()), a.tick)
	}
}

func (a *attempt) tick() { a.step(protocol.Input{Kind: protocol.Tick}) }

func (a *attempt) event(e *errands, event Event) {
	if a.group.observer != nil {
		event.Key, event.Owner = a.key, a.owner
		e.events = append(e.events, event)
	}
}

func (a *attempt) heldFor() time.Duration { return a.group.clock.Now() - a.lease.handed }

// slowestVote is the latency of the answer that decided a round.
func (a *attempt) slowestVote() time.Duration {
	var slowest time.Duration
	for i := range a.votes {
		slowest = max(slowest, a.votes[i].Latency)
	}
	return slowest
}

// send calls the nodes, each in a goroutine of its own, under one timeout.
func (a *attempt) send(calls []protocol.Output) {
	if len(calls) == 0 {
		return
	}
	ctx, cancel := a.group.clock.WithTimeout(a.ctx, a.cfg.NodeTimeout)
	left := new(atomic.Int32)
	left.Store(int32(len(calls)))
	a.busy.Add(int32(len(calls)))
	for i := range calls {
		go func(node int, req protocol.Request) {
			defer a.rest()
			a.call(ctx, node, req)
			if left.Add(-1) == 0 {
				cancel()
			}
		}(calls[i].Node, calls[i].Request)
	}
}

// call carries one request to its node and the answer back.
func (a *attempt) call(ctx context.Context, node int, req protocol.Request) {
	sent := a.group.now()
	vote, err := a.ask(ctx, a.group.nodes[node], req)
	answered := a.group.now()
	answer := protocol.Vote{Outcome: protocol.Unknown}
	switch {
	case err == nil && req.Op == protocol.Release:
		answer.Outcome = protocol.Granted
	case err == nil:
		answer, err = a.group.admit(node, sent, answered, vote)
	}
	seen := NodeVote{Node: a.group.names[node], Outcome: Outcome(answer.Outcome), Err: err,
		Latency: answered.Sub(sent), Holder: vote.Holder, Remaining: vote.Remaining}

	a.mu.Lock()
	a.votes[node] = seen
	e := a.stepLocked(protocol.Input{Kind: protocol.Voted, Node: node, Request: req.ID, Op: req.Op, Vote: answer})
	a.mu.Unlock()
	if a.group.observer != nil {
		a.group.observe(a.ctx, Event{Kind: EventVote, Key: a.key, Owner: a.owner, Op: req.Op.String(),
			Node: seen.Node, Outcome: seen.Outcome, Latency: seen.Latency, Err: err})
	}
	a.run(e)
}

// ask makes the call that a request stands for.
func (a *attempt) ask(ctx context.Context, n Node, req protocol.Request) (Vote, error) {
	switch req.Op {
	case protocol.Acquire:
		return n.Acquire(ctx, AcquireRequest{Key: a.key, Owner: a.owner, TTL: req.TTL, Hint: req.Hint})
	case protocol.Confirm:
		return n.Confirm(ctx, ConfirmRequest{Key: a.key, Owner: a.owner, Fence: req.Fence, Token: req.Token})
	case protocol.Extend:
		return n.Extend(ctx, ExtendRequest{Key: a.key, Owner: a.owner, Fence: req.Fence, TTL: req.TTL})
	}
	return Vote{}, n.Release(ctx, ReleaseRequest{Key: a.key, Owner: a.owner})
}

// admit turns a node's answer into a vote, or bars it.
func (g *group) admit(node int, sent, answered protocol.Instant, v Vote) (protocol.Vote, error) {
	facts := protocol.Facts{Incarnation: v.Incarnation, Age: v.Age}
	if !v.Clock.IsZero() {
		facts.Clock = v.Clock.UnixNano()
	}
	g.guardMu.Lock()
	bar, wait, other := g.guards.Admit(node, sent, answered, facts)
	g.guardMu.Unlock()
	vote := protocol.Vote{Outcome: protocol.Refused, Fence: v.Fence, Counter: v.Counter, Remaining: v.Remaining}
	switch {
	case bar != protocol.NotBarred:
		vote.Outcome, vote.BarredFor = protocol.Barred, wait
	case v.Granted:
		vote.Outcome = protocol.Granted
	}
	switch bar {
	case protocol.Young:
		return vote, fmt.Errorf("started %v ago and may have lost locks: votes in %v", v.Age.Round(time.Millisecond), wait.Round(time.Millisecond))
	case protocol.Leapt:
		return vote, fmt.Errorf("its clock leapt forward: votes in %v", wait.Round(time.Millisecond))
	case protocol.Alias:
		return vote, fmt.Errorf("is the same server as node %s", g.names[other])
	}
	return vote, nil
}
