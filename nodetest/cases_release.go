package nodetest

import "time"

var finalCases = []testCase{
	{name: "release_frees", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		c.granted(key, owner, long)
		c.release(key, owner)
		c.free(key)
		c.granted(key, newOwner(), long)
	}},
	{name: "release_absent", run: func(c *check) {
		key := c.newKey()
		c.release(key, newOwner())
		c.granted(key, newOwner(), long)
	}},
	{name: "release_twice", run: func(c *check) {
		key, owner, next := c.newKey(), newOwner(), newOwner()
		c.granted(key, owner, long)
		c.release(key, owner)
		c.release(key, owner)
		c.granted(key, next, long)
		c.release(key, owner)
		c.holds(key, next)
	}},
	{name: "release_after_expiry", run: func(c *check) {
		key, owner, next := c.newKey(), newOwner(), newOwner()
		c.granted(key, owner, short)
		c.expire(key, short)
		c.granted(key, next, long)
		c.release(key, owner)
		c.holds(key, next)
	}},
	{name: "foreign_release", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		c.unchanged(key, func() { c.release(key, newOwner()) })
		if !c.extend(key, owner, v.Fence, long).Granted {
			c.violated("the holder of %q lost it to another owner's release", key)
		}
	}},
	{name: "late_acquire", run: func(c *check) {
		key, owner, next := c.newKey(), newOwner(), newOwner()
		c.granted(key, owner, long)
		c.release(key, owner)
		for range 2 {
			c.refused(key, owner, "that owner has released it")
			c.free(key)
		}
		c.granted(key, next, long)
		c.refused(key, owner, "that owner has released it, and another one holds it")
		c.release(key, next)
		c.refused(key, owner, "that owner has released it, before the last holder did")
	}},
	{name: "release_before_acquire", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		c.release(key, owner)
		c.refused(key, owner, "its release had come before")
		c.free(key)
		c.granted(key, newOwner(), long)
	}},
	{name: "release_before_acquire_of_a_held_key", run: func(c *check) {
		key, owner, holder := c.newKey(), newOwner(), newOwner()
		c.granted(key, holder, long)
		c.release(key, owner)
		c.release(key, holder)
		c.refused(key, owner, "its release had come while another owner held it")
	}},
	{name: "release_after_expiry_is_final", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		c.granted(key, owner, short)
		c.expire(key, short)
		c.release(key, owner)
		c.refused(key, owner, "that owner has released it, if after it ran out")
	}},
	{name: "every_released_owner", run: func(c *check) {
		key := c.newKey()
		var owners []string
		for range 20 {
			owners = append(owners, newOwner())
			c.granted(key, owners[len(owners)-1], long)
			c.release(key, owners[len(owners)-1])
		}
		for _, owner := range owners {
			c.refused(key, owner, "that owner, among others, has released it")
		}
	}},
}

var tellingCases = []testCase{
	{name: "holder_remaining_counter", run: func(c *check) {
		key, owner, start := c.newKey(), newOwner(), c.now()
		grant := c.granted(key, owner, long)
		v := c.refused(key, newOwner(), "another owner holds it")
		least := long - (c.now() - start) - c.cfg.grain
		if v.Holder != owner {
			c.violated("%q is held by %q, and a refusal says %q", key, owner, v.Holder)
		}
		if v.Remaining < least || v.Remaining > c.roundUp(long) {
			c.violated("%q is held for at least %v and at most %v more, and a refusal says %v", key, least, c.roundUp(long), v.Remaining)
		}
		if v.Counter != grant.Fence {
			c.violated("the counter of %q is %d, and a refusal says %d", key, grant.Fence, v.Counter)
		}
	}},
	{name: "counter_is_the_token", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		grant := c.granted(key, owner, long)
		c.confirm(key, owner, grant.Fence, grant.Fence+1000)
		if v := c.refused(key, newOwner(), "another owner holds it"); v.Counter != grant.Fence+1000 {
			c.violated("the counter of %q is %d, and a refusal says %d", key, grant.Fence+1000, v.Counter)
		}
	}},
	{name: "remaining_shrinks", run: func(c *check) {
		const pause = 50 * time.Millisecond
		key := c.newKey()
		c.granted(key, newOwner(), long)
		before := c.refused(key, newOwner(), "another owner holds it")
		c.sleep(pause)
		after := c.refused(key, newOwner(), "another owner holds it")
		if after.Remaining > before.Remaining-pause+c.cfg.grain {
			c.violated("%q was held for %v more, and %v later for %v", key, before.Remaining, pause, after.Remaining)
		}
	}},
	{name: "free_when_told", run: func(c *check) {
		c.judge(func() bool {
			key := c.newKey()
			c.granted(key, newOwner(), short)
			v := c.acquire(key, newOwner(), long, 0)
			if v.Granted {
				return false
			}
			if v.Remaining > c.roundUp(short) {
				c.violated("%q was granted for %v, and a refusal says that %v are left", key, short, v.Remaining)
			}
			c.expire(key, v.Remaining)
			c.granted(key, newOwner(), long)
			return true
		})
	}},
	{name: "nobody_holds", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		grant := c.granted(key, owner, long)
		c.release(key, owner)
		v := c.acquire(key, owner, long, 0)
		if !v.Granted && (v.Holder != "" || v.Remaining != 0 || v.Counter != grant.Fence) {
			c.violated("nobody holds %q, its counter is %d, and a refusal says %+v", key, grant.Fence, v)
		}
	}},
	{name: "other_holds", run: func(c *check) {
		key, released, owner := c.newKey(), newOwner(), newOwner()
		c.release(key, released)
		grant := c.granted(key, owner, long)
		v := c.refused(key, released, "another owner holds it")
		if v.Holder != owner || v.Counter != grant.Fence || v.Remaining <= 0 {
			c.violated("%s holds %q with the fence %d, and the refusal of a released owner says %+v", owner, key, grant.Fence, v)
		}
	}},
}
