package nodetest

import (
	"context"
	"time"

	"github.com/quorumlock/redlock"
)

// call is one method of a node, on a key of its own.
type call struct {
	op  string
	run func(context.Context) error
}

// calls are all of a node's methods that ask the server.
func (c *check) calls() []call {
	key, owner := c.newKey(), newOwner()
	return []call{
		{"acquire", func(ctx context.Context) error {
			_, err := c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
			return err
		}},
		{"confirm", func(ctx context.Context) error {
			_, err := c.node.Confirm(ctx, redlock.ConfirmRequest{Key: key, Owner: owner, Fence: 1, Token: 2})
			return err
		}},
		{"extend", func(ctx context.Context) error {
			_, err := c.node.Extend(ctx, redlock.ExtendRequest{Key: key, Owner: owner, Fence: 1, TTL: long})
			return err
		}},
		{"release", func(ctx context.Context) error {
			return c.node.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: owner})
		}},
		{"inspect", func(ctx context.Context) error {
			_, err := c.node.Inspect(ctx, key)
			return err
		}},
	}
}

// returns runs a call whose context has ended, or ends in a moment, and fails if
// the call does not. The call may then stay behind.
func (c *check) returns(ctx context.Context, call call) error {
	c.Helper()
	done, late := make(chan error, 1), make(chan struct{})
	go func() { done <- call.run(ctx) }()
	timer := realClock.AfterFunc(c.cfg.patience, func() { close(late) })
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-late:
		c.violated("%s had not returned %v after its context ended", call.op, c.cfg.patience)
		return nil
	}
}

var boundedCases = []testCase{
	{name: "context_ended_before", run: func(c *check) {
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		expired, cancel := realClock.WithTimeout(context.Background(), 0)
		defer cancel()
		<-expired.Done()
		for _, ctx := range []context.Context{cancelled, expired} {
			for _, call := range c.calls() {
				if err := c.returns(ctx, call); err == nil {
					c.violated("%s succeeded with a context that had ended: %v", call.op, ctx.Err())
				}
			}
		}
	}},
	{name: "context_cancelled_midway", run: cancelledMidway},
	{name: "frozen_server", alone: true, run: frozenServer},
}

// cancelledMidway gives up calls at odd moments. Besides that they end, a driver
// must not hand the answer of a call that was given up to the next one.
func cancelledMidway(c *check) {
	type grant struct{ key, owner string }
	var grants []grant
	for range 4 {
		g := grant{c.newKey(), newOwner()}
		c.granted(g.key, g.owner, long)
		grants = append(grants, g)
	}
	for i := range 40 {
		given, kept := grants[i%4], grants[(i+1)%4]
		ctx, cancel := context.WithCancel(context.Background())
		timer := realClock.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
		_ = c.returns(ctx, call{"inspect", func(ctx context.Context) error {
			_, err := c.node.Inspect(ctx, given.key)
			return err
		}})
		timer.Stop()
		cancel()
		if s := c.inspect(kept.key); s.Owner != kept.owner {
			c.violated("after a call was given up, the next one, inspect of %q held by %s, was answered with %+v", kept.key, kept.owner, s)
		}
	}
}

// frozenServer asks a server that has stopped answering.
func frozenServer(c *check) {
	if c.cfg.freeze == nil {
		c.Skip("needs the option Freeze")
	}
	c.granted(c.newKey(), newOwner(), long) // connected, and known to work
	const wait = 100 * time.Millisecond
	func() {
		thaw := c.cfg.freeze(c.T, c.node)
		defer thaw()
		for _, call := range c.calls() {
			ctx, cancel := realClock.WithTimeout(context.Background(), wait)
			err := c.returns(ctx, call)
			cancel()
			if err == nil {
				c.violated("%s of a frozen server returned no error", call.op)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		realClock.AfterFunc(wait, cancel)
		if err := c.returns(ctx, c.calls()[0]); err == nil {
			c.violated("acquire of a frozen server returned no error when it was cancelled")
		}
	}()
	c.recovered(c.newKey(), newOwner())
}

// recovered acquires a key from a server that may still be coming up.
func (c *check) recovered(key, owner string) redlock.Vote {
	c.Helper()
	for end := realClock.Now() + stuck; ; {
		ctx, cancel := realClock.WithTimeout(context.Background(), stuck/10)
		v, err := c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
		cancel()
		if err == nil {
			return v
		}
		if realClock.Now() > end {
			c.Fatalf("the server did not come back in %v: %v", stuck, err)
		}
		c.sleep(10 * time.Millisecond)
	}
}

var honestCases = []testCase{
	{name: "restart", alone: true, run: restart},
	{name: "one_life", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		c.oneLife(v, c.everyVote(key, owner, v.Fence))
		c.release(key, newOwner())
		c.release(key, owner)
		c.oneLife(v, c.everyVote(key, newOwner(), v.Fence))
	}},
}

// restart has the node's server lose what it would lose in a crash.
func restart(c *check) {
	if c.cfg.restart == nil {
		c.Skip("needs the option Restart")
	}
	key, owner := c.newKey(), newOwner()
	before := c.granted(key, owner, long)
	c.confirm(key, owner, before.Fence, before.Fence+1000)
	gone, released := c.newKey(), newOwner()
	c.release(gone, released)

	start := c.now()
	c.cfg.restart(c.T, c.node)
	c.sleep(c.cfg.grain)
	asker := newOwner()
	after := c.recovered(key, asker)
	if after.Age == 0 {
		lostNothing(c, key, owner, before, after)
		c.refused(gone, released, "that owner has released it, and the node says by its age that it lost nothing")
		return
	}
	if since := c.now() - start; after.Age < 0 || after.Age > since {
		c.violated("a restart %v ago may have lost grants, and a vote says that it was %v ago", since, after.Age)
	}
	if after.Incarnation != "" && after.Incarnation == before.Incarnation {
		c.violated("the incarnation is %q before and after a restart that may have lost grants", after.Incarnation)
	}
	votes := c.everyVote(key, asker, after.Fence)
	c.oneLife(after, votes)
	if since, last := c.now()-start, votes[len(votes)-1].Age; last > since {
		c.violated("a restart %v ago may have lost grants, and the node says that it was %v ago", since, last)
	}
}

// lostNothing holds a node to an age of zero. The asker was another owner.
func lostNothing(c *check, key, owner string, before, after redlock.Vote) {
	c.Helper()
	if after.Granted || after.Holder != owner {
		c.violated("the age of %q's vote is zero, as if nothing was lost, but the grant to %s is gone: %+v", key, owner, after)
	}
	if after.Counter != before.Fence+1000 {
		c.violated("the age of %q's vote is zero, as if nothing was lost, but the counter fell from %d to %d", key, before.Fence+1000, after.Counter)
	}
}

// everyVote collects votes of all kinds, in the order they were given. The owner
// need not hold the key: a refusal shows as much of the node.
func (c *check) everyVote(key, owner string, fence uint64) []redlock.Vote {
	c.Helper()
	votes := []redlock.Vote{
		c.acquire(key, newOwner(), long, 0),
		c.acquire(key, owner, long, 0),
		c.confirm(key, owner, fence, fence),
		c.confirm(key, newOwner(), fence, fence),
		c.extend(key, owner, fence, long),
		c.extend(key, newOwner(), fence, long),
	}
	s := c.inspect(key)
	return append(votes, redlock.Vote{Incarnation: s.Incarnation, Age: s.Age})
}

// oneLife checks votes that were given one after the other, with no restart
// between them.
func (c *check) oneLife(first redlock.Vote, votes []redlock.Vote) {
	c.Helper()
	last := first.Age
	for _, v := range votes {
		if v.Incarnation != first.Incarnation {
			c.violated("the incarnation changed from %q to %q without a restart", first.Incarnation, v.Incarnation)
		}
		if v.Age < last || (v.Age == 0) != (first.Age == 0) {
			c.violated("the age was %v, and then %v without a restart", last, v.Age)
		}
		last = v.Age
	}
}
