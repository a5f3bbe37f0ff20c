package redlock

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Inspect asks every node what it knows of a key, and gives the answers in the
// order of the nodes, each with the node's name and, if it failed, its error. It
// waits for all of them, a NodeTimeout at most.
//
// What it tells is past when it is read: it is for people and monitoring, never
// for deciding whether to lock. It returns an error wrapping ErrNoQuorum, with
// the states all the same, if fewer than a majority answered, and ErrClosed after
// Close.
func (l *Locker) Inspect(ctx context.Context, key string) ([]NodeState, error) {
	if err := l.check(ctx, key); err != nil {
		return nil, err
	}
	states := make([]NodeState, len(l.group.nodes))
	votes, err := l.each(ctx, func(ctx context.Context, i int, n Node) error {
		state, err := n.Inspect(ctx, key)
		states[i] = state
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range states {
		states[i].Node, states[i].Err, states[i].Latency = votes[i].Node, votes[i].Err, votes[i].Latency
	}
	return states, l.majority(ctx, "inspect", key, votes)
}

// ForceUnlock releases a lock whoever holds it: it looks who that is and releases
// that owner for good. The holder is not asked and learns of it at its next
// renewal, up to TTL/3 later, when it loses its lease; or, if it does not renew
// (Options.NoRenew), only when its validity ends. Until then it works on, so make
// sure that it is dead or that its resource checks tokens.
//
// It returns an error wrapping ErrNotHeld if nobody held the key, and ErrNoQuorum
// if fewer than a majority of nodes did as told; and ErrClosed after Close, or if
// Close came before any node was told. Data of others that stand in a lock's place
// are nobody's to release: if they are why nobody gets the key, the error says what
// is where.
func (l *Locker) ForceUnlock(ctx context.Context, key string) error {
	states, err := l.Inspect(ctx, key)
	if err != nil {
		return fmt.Errorf("force unlock: %w", err)
	}
	var owners, others []string
	for _, s := range states {
		switch {
		case s.Held && !slices.Contains(owners, s.Owner):
			owners = append(owners, s.Owner)
		case !s.Held && s.Owner != "":
			others = append(others, fmt.Sprintf("%s has %s", s.Node, s.Owner))
		}
	}
	switch {
	case len(owners) == 0 && len(others) == 0:
		return fmt.Errorf("redlock: force unlock %q: %w", key, ErrNotHeld)
	case len(owners) == 0:
		return fmt.Errorf("redlock: force unlock %q: %w: %s; delete that with the servers' own tools",
			key, ErrNotHeld, strings.Join(others, "; "))
	}
	// Every node is told of every owner: a release is final, so none of them
	// grants a renewal of the holder's any more.
	votes, err := l.each(ctx, func(ctx context.Context, _ int, n Node) error {
		for _, owner := range owners {
			if err := n.Release(ctx, ReleaseRequest{Key: key, Owner: owner}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.majority(ctx, "force unlock", key, votes)
}

// each calls all nodes at once and waits for their answers. Close waits for it.
func (l *Locker) each(ctx context.Context, call func(ctx context.Context, i int, n Node) error) ([]NodeVote, error) {
	if !l.group.enter() {
		return nil, fmt.Errorf("redlock: %w", ErrClosed)
	}
	defer l.group.exit()
	ctx, cancel := l.group.clock.WithTimeout(ctx, l.opts.NodeTimeout)
	defer cancel()
	votes := make([]NodeVote, len(l.group.nodes))
	var calls errgroup.Group
	for i, n := range l.group.nodes {
		calls.Go(func() error {
			start := l.group.clock.Now()
			err := call(ctx, i, n)
			votes[i] = NodeVote{Node: l.group.names[i], Outcome: Granted, Err: err, Latency: l.group.clock.Now() - start}
			if err != nil {
				votes[i].Outcome = Unknown
			}
			return nil
		})
	}
	_ = calls.Wait() // each call's error is in its vote
	return votes, nil
}

// majority is nil if enough nodes did as told.
func (l *Locker) majority(ctx context.Context, op, key string, votes []NodeVote) error {
	done := 0
	for _, v := range votes {
		if v.Outcome == Granted {
			done++
		}
	}
	if done >= l.opts.Quorum {
		return nil
	}
	err := &QuorumError{Op: op, Key: key, Need: l.opts.Quorum, Votes: votes, Err: ErrNoQuorum}
	return endedWaiting(ctx, err)
}
