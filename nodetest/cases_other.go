package nodetest

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// oddities are what a server's protocol, language or collation may trip over.
var oddities = []string{
	"\x00", "a\x00b", "\n", "\r\n", "\t", " ", "a b", " a", "a ", "a  ", "a", "A", "ab", "aB",
	"{", "}", "{a}", "%", "%s", "%00", "_", "/", "//", "a/", "/a", "..", "../..", ".", "*", "?", "[a]", "\\", "\\n",
	"'", "\"", "`", "';--", "$1", ":", ",", ";", "#", "\x7f", "\xff", "\xfe", "\xc3\x28",
	"é", "e\u0301", "E", "e", "ß", "ss", "I", "ı", "日本", "😀", "\ufeff", "\u200b", "1", "01", "1.0",
}

var keyCases = []testCase{
	{name: "any_byte", run: func(c *check) {
		for _, odd := range oddities {
			unique := rand.Text()
			for _, key := range []string{unique + odd, odd + unique} {
				owner := newOwner()
				c.granted(key, owner, long)
				c.refused(key, newOwner(), "another owner holds it")
				c.release(key, owner)
				c.free(key)
			}
		}
	}},
	{name: "told_apart", run: func(c *check) {
		unique := rand.Text()
		keys := []string{unique, strings.ToLower(unique)}
		for _, odd := range oddities {
			keys = append(keys, unique+odd)
		}
		c.apart(keys)
	}},
	{name: "told_apart_at_the_start", run: func(c *check) {
		unique := rand.Text()
		keys := []string{unique}
		for _, odd := range oddities {
			keys = append(keys, odd+unique)
		}
		c.apart(keys)
	}},
	{name: "longest", run: func(c *check) {
		base := rand.Text()
		base += strings.Repeat("x", redlock.MaxKeyLength-len(base)-1)
		c.apart([]string{base, base + "x", base + "y", base + "\xff", base + " "})
	}},
	{name: "one_byte", run: oneByte},
}

// apart grants each key to an owner of its own, and frees one after the other.
func (c *check) apart(keys []string) {
	c.Helper()
	owners := make([]string, len(keys))
	for i, key := range keys {
		owners[i] = newOwner()
		c.granted(key, owners[i], long)
	}
	for i, key := range keys {
		c.holds(key, owners[i])
	}
	for i, key := range keys {
		c.release(key, owners[i])
		c.free(key)
		if i+1 < len(keys) {
			c.holds(keys[i+1], owners[i+1])
		}
	}
}

// oneByte uses the only keys that are not fresh: another run of the kit on the
// same server may hold one for a moment.
func oneByte(c *check) {
	var b [1]byte
	_, _ = rand.Read(b[:])
	key, owner := string(b[:]), newOwner()
	for end := c.now() + lag; !c.acquire(key, owner, time.Second, 0).Granted; c.sleep(10 * c.cfg.grain) {
		if c.now() > end {
			c.violated("the key %q of one byte was not granted within %v", key, lag)
		}
	}
	c.holds(key, owner)
	c.release(key, owner)
}

var nameCases = []testCase{
	{name: "set_and_stable", run: func(c *check) {
		name := c.node.Name()
		if name == "" {
			c.violated("the name is empty")
		}
		c.granted(c.newKey(), newOwner(), long)
		if again := c.node.Name(); again != name {
			c.violated("the name changed from %q to %q", name, again)
		}
	}},
}

var inspectCases = []testCase{
	{name: "never_held", run: func(c *check) {
		key := c.newKey()
		if c.inspect(key).Counter != 0 {
			key = c.newKey() // keys may share counters, by chance
		}
		for range 2 {
			c.blank(c.inspect(key), 0)
		}
		c.granted(key, newOwner(), long)
	}},
	{name: "held", run: func(c *check) {
		key, owner, start := c.newKey(), newOwner(), c.now()
		v := c.granted(key, owner, long)
		c.confirm(key, owner, v.Fence, v.Fence+1000)
		s := c.inspect(key)
		least := long - (c.now() - start) - c.cfg.grain
		switch {
		case !s.Held || s.Owner != owner || s.Fence != v.Fence || s.Counter != v.Fence+1000:
			c.violated("%q is held by %s with the fence %d and the token %d, and inspect says %+v", key, owner, v.Fence, v.Fence+1000, s)
		case s.Remaining < least || s.Remaining > c.roundUp(long):
			c.violated("%q is held for at least %v and at most %v more, and inspect says %v", key, least, c.roundUp(long), s.Remaining)
		case s.Incarnation != v.Incarnation || s.Clock.IsZero() != v.Clock.IsZero():
			c.violated("a vote says %+v of its node, and inspect %+v", v, s)
		}
		c.leftEmpty(s)
	}},
	{name: "released", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		c.release(key, owner)
		c.blank(c.inspect(key), v.Fence)
	}},
	{name: "expired", run: func(c *check) {
		key := c.newKey()
		v := c.granted(key, newOwner(), short)
		c.expire(key, short)
		c.blank(c.inspect(key), v.Fence)
	}},
	{name: "changes_nothing", run: func(c *check) {
		const pause = 50 * time.Millisecond
		key := c.newKey()
		c.granted(key, newOwner(), long)
		c.unchanged(key, func() {
			before := c.inspect(key)
			c.sleep(pause)
			if after := c.inspect(key); after.Remaining > before.Remaining-pause+c.cfg.grain {
				c.violated("%q was held for %v more, and %v after an inspect for %v", key, before.Remaining, pause, after.Remaining)
			}
		})
	}},
}

// blank checks the state of a key that nobody holds.
func (c *check) blank(s redlock.NodeState, counter uint64) {
	c.Helper()
	if s.Held || s.Owner != "" || s.Fence != 0 || s.Remaining != 0 || s.Counter != counter {
		c.violated("nobody holds the key, its counter is %d, and inspect says %+v", counter, s)
	}
	c.leftEmpty(s)
}

func (c *check) leftEmpty(s redlock.NodeState) {
	c.Helper()
	if s.Node != "" || s.Err != nil || s.Latency != 0 {
		c.violated("inspect has filled in what is the Locker's: node %q, error %v, latency %v", s.Node, s.Err, s.Latency)
	}
}

var clockCases = []testCase{
	{name: "goes_forward", run: func(c *check) {
		key, owner := c.newKey(), newOwner()
		v := c.granted(key, owner, long)
		if v.Clock.IsZero() {
			c.Skip("the node shows no clock")
		}
		last, start := v.Clock, v.Clock
		for range 20 {
			if v := c.acquire(key, newOwner(), long, 0); v.Granted {
				last = c.notBefore(last, v.Clock)
			}
			last = c.notBefore(last, c.confirm(key, owner, v.Fence, v.Fence).Clock)
			last = c.notBefore(last, c.extend(key, owner, v.Fence, long).Clock)
			last = c.notBefore(last, c.inspect(key).Clock)
		}
		for end := c.now() + lag; !last.After(start); c.sleep(10 * time.Millisecond) {
			if c.now() > end {
				c.violated("the clock stood at %v for %v", start, lag)
			}
			last = c.notBefore(last, c.inspect(key).Clock)
		}
	}},
}

func (c *check) notBefore(last, clock time.Time) time.Time {
	c.Helper()
	if clock.Before(last) {
		c.violated("the clock went back from %v to %v", last, clock)
	}
	return clock
}
