package redlock

import (
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// answered is told of a node's answer.
func (a *attempt) answered(c *nodeCall, answered protocol.Instant) {
	answer := protocol.Vote{Outcome: protocol.Unknown}
	err := c.Err
	switch {
	case err == nil && c.Op == OpRelease:
		answer.Outcome = protocol.Granted
	case err == nil:
		answer, err = a.group.admit(c.node, c.sent, answered, &c.Vote)
	}
	a.mu.Lock()
	if a.lease == nil || answer.Outcome != protocol.Granted {
		if a.round == nil {
			a.round = new(round)
		}
		if a.round.votes == nil {
			a.round.votes = make([]NodeVote, len(a.group.nodes))
		}
		a.round.votes[c.node] = NodeVote{Node: a.group.names[c.node], Outcome: Outcome(answer.Outcome), Err: err,
			Latency: answered.Sub(c.sent), Holder: c.Vote.Holder, Remaining: c.Vote.Remaining}
	}
	var e errands
	a.stepLocked(answered, protocol.Input{Kind: protocol.Voted, Node: c.node, Request: c.request, Op: protocol.Op(c.Op),
		Sent: c.sent, TTL: c.TTL, Fence: c.Fence, Vote: answer}, &e)
	a.mu.Unlock()
	if a.group.observer != nil {
		a.group.observe(e.caller, Event{Kind: EventVote, Key: a.key, Owner: a.owner, Op: protocol.Op(c.Op).String(),
			Node: a.group.names[c.node], Outcome: Outcome(answer.Outcome), Latency: answered.Sub(c.sent), Err: err})
	}
	a.run(&e)
}

// admit turns a node's answer into a vote, or bars it.
func (g *group) admit(node int, sent, answered protocol.Instant, v *Vote) (protocol.Vote, error) {
	facts := protocol.Facts{Incarnation: v.Incarnation, Age: v.Age}
	if !v.Clock.IsZero() {
		facts.Clock, facts.ClockBefore = v.Clock.UnixNano(), v.ClockBefore
	}
	g.guardMu.Lock()
	bar, wait, other := g.guards.Admit(node, sent, answered, facts)
	g.guardMu.Unlock()
	vote := protocol.Vote{Outcome: protocol.Refused, Fence: v.Fence, Counter: v.Counter, Remaining: v.Remaining, Queued: v.Queued}
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

// quorumError tells of the latest answers, with the outcomes as the machine saw
// them when it decided.
func (a *attempt) quorumError(op string, sentinel error, outcomes []protocol.Outcome) *QuorumError {
	votes := make([]NodeVote, len(a.group.nodes))
	if a.round != nil {
		copy(votes, a.round.votes)
	}
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

// slowestVote is the latency of the vote that decided the first round.
func (a *attempt) slowestVote() time.Duration {
	var slowest time.Duration
	for i := range a.round.votes {
		slowest = max(slowest, a.round.votes[i].Latency)
	}
	return slowest
}
