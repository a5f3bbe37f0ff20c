package nodetest

import (
	"context"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

var exclusiveCases = []testCase{
	{name: "free_then_held", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		for range 3 {
			c.refused(key, newOwner(), "another owner holds it")
		}
		c.holds(key, owner)
		if !c.confirm(key, owner, v.Fence, v.Fence).Granted {
			c.violated("the holder of %q lost it to acquires that were refused", key)
		}
	}},
	{name: "one_winner_of_many", run: func(c *check) {
		for range 3 {
			c.race(c.newKey(), 16)
		}
	}},
	{name: "one_winner_after_release", run: func(c *check) {
		key := c.newKey()
		for range 3 {
			c.release(key, c.race(key, 8))
		}
	}},
	{name: "one_winner_after_expiry", run: func(c *check) {
		key := c.newKey()
		c.granted(key, newOwner(), short)
		c.expire(key, short)
		c.race(key, 8)
	}},
}

// race has n owners ask for a free key at once, and returns the one that got it.
func (c *check) race(key string, n int) (winner string) {
	c.Helper()
	owners := make([]string, n)
	for i := range owners {
		owners[i] = newOwner()
	}
	winners := 0
	for i, v := range c.acquireAtOnce(key, owners) {
		if v.Granted {
			winners++
			winner = owners[i]
		}
	}
	if winners != 1 {
		c.violated("%d owners asked for %q at once, and %d were granted it", n, key, winners)
	}
	c.holds(key, winner)
	return winner
}

// acquireAtOnce asks for the key in a goroutine for each of the owners.
func (c *check) acquireAtOnce(key string, owners []string) []redlock.Vote {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	votes, errs := make([]redlock.Vote, len(owners)), make([]error, len(owners))
	var wg sync.WaitGroup
	for i, owner := range owners {
		wg.Go(func() {
			votes[i], errs[i] = c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
		})
	}
	wg.Wait()
	for _, err := range errs {
		c.must(err, "acquire", key)
	}
	return votes
}

var longEnoughCases = []testCase{
	{name: "stands_for_its_ttl", run: func(c *check) {
		c.judge(func() bool {
			key, start := c.newKey(), c.now()
			c.granted(key, newOwner(), short)
			return c.standsUntil(key, start+short)
		})
	}},
	{name: "odd_ttls", run: func(c *check) {
		c.judge(func() bool {
			const ttl = 40*time.Millisecond + 900*time.Microsecond
			key, start := c.newKey(), c.now()
			c.granted(key, newOwner(), ttl)
			return c.standsUntil(key, start+ttl)
		})
	}},
	{name: "tiny_ttls", run: func(c *check) {
		for _, ttl := range []time.Duration{1, time.Microsecond, time.Millisecond - 1, time.Millisecond + 1} {
			key, start := c.newKey(), c.now()
			c.granted(key, newOwner(), ttl)
			c.standsUntil(key, start+ttl)
			c.expire(key, ttl)
		}
	}},
	{name: "large_ttl", run: func(c *check) {
		const ttl = 24 * time.Hour
		key, owner, start := c.newKey(), newOwner(), c.now()
		c.granted(key, owner, ttl)
		s := c.inspect(key)
		least := ttl - (c.now() - start) - c.cfg.grain
		if !s.Held || s.Remaining < least || s.Remaining > c.roundUp(ttl) {
			c.violated("%q was granted for %v, and has %v left where it should have at least %v", key, ttl, s.Remaining, least)
		}
		c.release(key, owner)
	}},
	{name: "acquire_does_not_shorten", run: func(c *check) {
		c.renews(short, short/10, short, c.byAcquire)
	}},
	{name: "extend_does_not_shorten", run: func(c *check) {
		c.renews(short, short/10, short, c.byExtend)
	}},
	{name: "acquire_lengthens", run: func(c *check) {
		c.renews(short, 2*short, 2*short, c.byAcquire)
	}},
	{name: "extend_lengthens", run: func(c *check) {
		c.renews(short, 2*short, 2*short, c.byExtend)
	}},
}

// renews grants a key for one TTL and renews it with another. The grant must
// then stand for total.
func (c *check) renews(first, second, total time.Duration, renew func(key, owner string, fence uint64, ttl time.Duration) redlock.Vote) {
	c.Helper()
	c.judge(func() bool {
		key, owner, start := c.newKey(), newOwner(), c.now()
		v := c.granted(key, owner, first)
		again := c.now()
		renewed := renew(key, owner, v.Fence, second)
		inTime := c.now() < start+first
		if !inTime {
			return false
		}
		if !renewed.Granted {
			c.violated("the holder of %q, granted for %v, was refused another %v before that", key, first, second)
		}
		if total > first {
			start = again
		}
		return c.standsUntil(key, start+total)
	})
}

func (c *check) byAcquire(key, owner string, _ uint64, ttl time.Duration) redlock.Vote {
	return c.acquire(key, owner, ttl, 0)
}

func (c *check) byExtend(key, owner string, fence uint64, ttl time.Duration) redlock.Vote {
	return c.extend(key, owner, fence, ttl)
}

var idempotentCases = []testCase{
	{name: "same_fence", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		first := c.granted(key, owner, long)
		for range 3 {
			c.sameFence(key, first.Fence, c.granted(key, owner, long))
		}
		if !c.confirm(key, owner, first.Fence, first.Fence).Granted {
			c.violated("%q was granted to its holder again, and the fence %d is no longer good", key, first.Fence)
		}
	}},
	{name: "whatever_the_hint", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		first := c.granted(key, owner, long)
		c.sameFence(key, first.Fence, c.grantedHint(key, owner, long, first.Fence+1000))
	}},
	{name: "after_confirm_and_extend", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		first := c.granted(key, owner, long)
		c.confirm(key, owner, first.Fence, first.Fence+1000)
		c.sameFence(key, first.Fence, c.granted(key, owner, long))
		c.extend(key, owner, first.Fence, 2*long)
		c.sameFence(key, first.Fence, c.granted(key, owner, long))
	}},
	{name: "duplicates_at_once", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		votes := c.acquireAtOnce(key, []string{owner, owner, owner, owner, owner, owner, owner, owner})
		for _, v := range votes {
			if !v.Granted {
				c.violated("one of several equal acquires of %q was refused: %+v", key, v)
			}
			c.sameFence(key, votes[0].Fence, v)
		}
	}},
}

func (c *check) sameFence(key string, fence uint64, v redlock.Vote) {
	c.Helper()
	if v.Fence != fence {
		c.violated("the holder of %q had the fence %d, and was granted it again with %d", key, fence, v.Fence)
	}
}

var concurrentCases = []testCase{
	{name: "one_after_the_other", run: func(c *check) {
		for range 10 {
			if problem := playRound([]redlock.Node{c.node, c.node, c.node, c.node}); problem != "" {
				c.violated("%s", problem)
			}
		}
	}},
	{name: "own_keys", run: func(c *check) {
		c.inGoroutines(8, func(ctx context.Context) string { return cycle(ctx, c.node, c.newKey(), 10) })
	}},
	{name: "one_key", run: func(c *check) {
		key := c.newKey()
		var inside sync.Mutex
		c.inGoroutines(8, func(ctx context.Context) string { return contend(ctx, c.node, key, &inside, 20) })
		c.free(key)
	}},
	{name: "late_and_twice", run: func(c *check) {
		key, owner, next := c.newKey(), newOwner(), newOwner()
		v := c.granted(key, owner, long)
		c.release(key, owner)
		w := c.granted(key, next, long)
		c.unchanged(key, func() {
			c.extend(key, owner, v.Fence, 2*long)
			c.confirm(key, owner, v.Fence, w.Fence+1000)
			c.release(key, owner)
			c.acquire(key, owner, 2*long, w.Fence+1000)
		})
	}},
}

// inGoroutines runs f n times at once. What it returns is what went wrong.
func (c *check) inGoroutines(n int, f func(ctx context.Context) string) {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	wrong := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { wrong[i] = f(ctx) })
	}
	wg.Wait()
	for _, w := range wrong {
		if w != "" {
			c.violated("of %d goroutines, one saw: %s", n, w)
		}
	}
}
