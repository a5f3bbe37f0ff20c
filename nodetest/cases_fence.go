package nodetest

import (
	"slices"
	"time"

	"github.com/quorumlock/redlock"
)

var fencedCases = []testCase{
	{name: "grows_over_release", run: func(c *check) {
		key := c.newKey()
		last := c.inspect(key).Counter
		for range 4 {
			owner := newOwner()
			last = c.follows(key, owner, long, last, 0).Fence
			c.release(key, owner)
		}
	}},
	{name: "grows_over_expiry", run: func(c *check) {
		key := c.newKey()
		v := c.granted(key, newOwner(), short)
		c.expire(key, short)
		c.follows(key, newOwner(), long, v.Fence, 0)
	}},
	{name: "same_owner_after_expiry", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		first := c.granted(key, owner, short)
		c.expire(key, short)
		if v := c.acquire(key, owner, long, 0); v.Granted && v.Fence <= first.Fence {
			c.violated("a grant of %q with the fence %d ran out, and the next one has %d", key, first.Fence, v.Fence)
		}
	}},
	{name: "grows_over_confirm", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		c.confirm(key, owner, v.Fence, v.Fence+1000)
		c.release(key, owner)
		c.follows(key, newOwner(), long, v.Fence+1000, 0)
	}},
	{name: "grows_over_confirm_and_expiry", run: func(c *check) {
		c.judge(func() bool {
			key, owner := c.newKey(), newOwner()
			v := c.granted(key, owner, short)
			confirmed := c.confirm(key, owner, v.Fence, v.Fence+1000).Granted
			if confirmed {
				c.expire(key, short)
				c.follows(key, newOwner(), long, v.Fence+1000, 0)
			}
			return confirmed
		})
	}},
	{name: "lower_token_lowers_nothing", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.grantedHint(key, owner, long, 1000)
		c.confirm(key, owner, v.Fence, 1)
		c.release(key, owner)
		c.follows(key, newOwner(), long, v.Fence, 0)
	}},
	{name: "larger_hint", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.follows(key, owner, long, c.inspect(key).Counter, 1000)
		c.release(key, owner)
		c.follows(key, newOwner(), long, v.Fence, v.Fence+1000)
	}},
	{name: "smaller_hint", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.grantedHint(key, owner, long, 1000)
		c.release(key, owner)
		c.follows(key, newOwner(), long, v.Fence, v.Fence-1)
	}},
	{name: "hint_within_horizon", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		if v.Clock.IsZero() {
			c.Skip("the node shows no clock to tell its horizon by")
		}
		c.release(key, owner)
		c.follows(key, newOwner(), long, v.Fence, uint64(v.Clock.Add(redlock.HintHorizon/2).UnixMicro()))
	}},
	{name: "hint_beyond_horizon", run: hintBeyondHorizon},
	{name: "exact_up_to_the_limit", run: exactUpToTheLimit},
}

// follows grants the key to an owner and checks the fence by the rule's formula.
func (c *check) follows(key, owner string, ttl time.Duration, previous, hint uint64) redlock.Vote {
	c.Helper()
	v := c.grantedHint(key, owner, ttl, hint)
	if want := max(previous+1, hint); v.Fence != want {
		c.violated("%q had the counter %d and was asked for with the hint %d: the fence is %d, not %d", key, previous, hint, v.Fence, want)
	}
	if v.Counter != v.Fence {
		c.violated("%q was granted with the fence %d, and the counter told is %d", key, v.Fence, v.Counter)
	}
	return v
}

// hintBeyondHorizon is a client whose clock is centuries ahead.
func hintBeyondHorizon(c *check) {
	// The node may read its clock for the vote and for the horizon apart.
	const margin = time.Minute
	key, owner := c.newKey(), newOwner()
	v := c.grantedHint(key, owner, long, redlock.MaxFence-1)
	horizon := v.Clock.Add(redlock.HintHorizon)
	switch {
	case v.Clock.IsZero():
		if v.Fence > redlock.MaxFence/2 {
			c.violated("a hint used the counter of %q up to %d", key, v.Fence)
		}
	case v.Fence > uint64(horizon.Add(margin).UnixMicro()):
		c.violated("a hint used the counter of %q up to %d; the horizon is at %d", key, v.Fence, horizon.UnixMicro())
	case v.Fence < uint64(horizon.Add(-margin).UnixMicro()):
		c.violated("a hint took the counter of %q to %d only; the horizon is at %d", key, v.Fence, horizon.UnixMicro())
	}
	c.release(key, owner)
	c.follows(key, newOwner(), long, v.Fence, 0)
}

// exactUpToTheLimit counts where numbers kept as doubles, or printed with an
// exponent, would go wrong.
func exactUpToTheLimit(c *check) {
	key, owner := c.newKey(), newOwner()
	v := c.granted(key, owner, long)
	last := uint64(redlock.MaxFence - 4)
	if got := c.confirm(key, owner, v.Fence, last); !got.Granted || got.Counter != last {
		c.violated("the token %d of %q was answered with %+v", last, key, got)
	}
	c.release(key, owner)
	for last < redlock.MaxFence-1 {
		owner = newOwner()
		last = c.follows(key, owner, long, last, 0).Fence
		c.release(key, owner)
	}
	// Past the limit an error is right, and a refusal does no harm.
	ctx, cancel := c.context()
	defer cancel()
	for range 2 {
		owner = newOwner()
		v, err := c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
		if err == nil && v.Granted && (v.Fence <= last || v.Fence > redlock.MaxFence) {
			c.violated("after the fence %d of %q came %d; the limit is %d", last, key, v.Fence, uint64(redlock.MaxFence))
		}
		last = max(last, v.Fence)
		c.release(key, owner)
	}
}

var conditionalCases = slices.Concat(standingCases, conditionsOf("confirm", confirmOf), conditionsOf("extend", extendOf))

// standingCases are those in which confirm and extend must be granted.
var standingCases = []testCase{
	{name: "confirm_of_a_standing_grant", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		fence := c.granted(key, owner, long).Fence
		counter := fence
		for _, token := range []uint64{fence, fence + 10, fence + 10, fence + 5} {
			counter = max(counter, token)
			if v := c.confirm(key, owner, fence, token); !v.Granted || v.Fence != fence || v.Counter != counter {
				c.violated("the token %d of %q, held with the fence %d, was answered with %+v", token, key, fence, v)
			}
		}
		if got := c.inspect(key); got.Counter != fence+10 || got.Fence != fence {
			c.violated("%q has the fence %d and the token %d, and the node says %+v", key, fence, fence+10, got)
		}
	}},
	{name: "extend_of_a_standing_grant", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		c.confirm(key, owner, v.Fence, v.Fence+10)
		for range 2 {
			if got := c.extend(key, owner, v.Fence, long); !got.Granted || got.Fence != v.Fence || got.Counter != v.Fence+10 {
				c.violated("an extend of %q, held with the fence %d and the token %d, was answered with %+v", key, v.Fence, v.Fence+10, got)
			}
		}
	}},
}

// conditional is a confirm or an extend that would leave a mark if it were
// granted.
type conditional func(c *check, key, owner string, fence uint64) redlock.Vote

func confirmOf(c *check, key, owner string, fence uint64) redlock.Vote {
	c.Helper()
	return c.confirm(key, owner, fence, fence+1_000_000)
}

func extendOf(c *check, key, owner string, fence uint64) redlock.Vote {
	c.Helper()
	return c.extend(key, owner, fence, 2*long)
}

// conditionsOf makes the cases in which op must be refused.
func conditionsOf(op string, call conditional) []testCase {
	refused := func(c *check, key, owner string, fence uint64, why string) {
		c.Helper()
		c.unchanged(key, func() {
			if v := call(c, key, owner, fence); v.Granted {
				c.violated("%s of %q was granted, although %s", op, key, why)
			}
		})
	}
	return []testCase{
		{name: op + "_wrong_fence", run: func(c *check) {
			key, owner := c.newKey(), newOwner()
			v := c.grantedHint(key, owner, long, 1000)
			for _, wrong := range []uint64{v.Fence - 1, v.Fence + 1, 0} {
				refused(c, key, owner, wrong, "the fence is not the grant's")
			}
		}},
		{name: op + "_token_for_fence", run: func(c *check) {
			key, owner := c.newKey(), newOwner()
			v := c.granted(key, owner, long)
			c.confirm(key, owner, v.Fence, v.Fence+10)
			refused(c, key, owner, v.Fence+10, "the fence is a token, not the grant's")
		}},
		{name: op + "_wrong_owner", run: func(c *check) {
			key := c.newKey()
			v := c.granted(key, newOwner(), long)
			refused(c, key, newOwner(), v.Fence, "another owner holds it")
		}},
		{name: op + "_after_release", run: func(c *check) {
			key, owner := c.newKey(), newOwner()
			v := c.granted(key, owner, long)
			c.release(key, owner)
			refused(c, key, owner, v.Fence, "it was released")
		}},
		{name: op + "_after_expiry", run: func(c *check) {
			key, owner := c.newKey(), newOwner()
			v := c.granted(key, owner, short)
			c.expire(key, short)
			refused(c, key, owner, v.Fence, "the grant has run out")
		}},
		{name: op + "_after_takeover", run: func(c *check) {
			key, owner := c.newKey(), newOwner()
			v := c.granted(key, owner, short)
			c.expire(key, short)
			w := c.granted(key, newOwner(), long)
			refused(c, key, owner, v.Fence, "the grant ran out, and another owner holds it")
			refused(c, key, owner, w.Fence, "another owner holds it")
		}},
		{name: op + "_absent", run: func(c *check) {
			key := c.newKey()
			for _, fence := range []uint64{0, 1} {
				refused(c, key, newOwner(), fence, "it was never granted")
			}
		}},
	}
}

// unchanged checks that f leaves the key as it was.
func (c *check) unchanged(key string, f func()) {
	c.Helper()
	before := c.inspect(key)
	f()
	after := c.inspect(key)
	same := after.Held == before.Held && after.Owner == before.Owner &&
		after.Fence == before.Fence && after.Counter == before.Counter
	if !same || after.Remaining > before.Remaining {
		c.violated("%q should not have changed, but was %+v and is %+v", key, before, after)
	}
}
