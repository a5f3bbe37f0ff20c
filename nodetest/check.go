package nodetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/redlock"
)

const (
	// long is the TTL of grants that shall outlast their case.
	long = 30 * time.Second

	// short is the TTL of grants whose end is waited for.
	short = 150 * time.Millisecond

	// stuck is how long a call may take that has no reason to take any.
	stuck = 10 * time.Second

	// lag is how much longer than told a grant may last before the kit calls
	// it everlasting. The contract lets grants last longer.
	lag = 3 * time.Second
)

// realClock is the clock of everything but a node with a clock of its own.
var realClock = redlock.SystemClock()

// check is a running case: the node, the rule at stake, and the node's time.
type check struct {
	*testing.T
	rule  rule
	cfg   *config
	node  redlock.Node
	slept time.Duration // in cfg.sleep
}

// violated fails the case.
func (c *check) violated(format string, args ...any) {
	c.Helper()
	c.Fatalf("%s\nagainst %v", fmt.Sprintf(format, args...), c.rule)
}

// must fails the case on an error of a call that has no reason to fail.
func (c *check) must(err error, op, key string) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s %q: %v\nwhile testing %v", op, key, err, c.rule)
	}
}

// newKey is a key nobody has used before. It tells people who look at the server
// which case it is of.
func (c *check) newKey() string {
	name := c.Name()
	return name[max(0, len(name)-redlock.MaxKeyLength/2):] + "/" + rand.Text()
}

const ownerLength = 32

func newOwner() string {
	var b [ownerLength / 2]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// now is the time as the node sees it pass. On real time the machine may be
// slow, and a reading taken after a call is no earlier than the call's handling.
func (c *check) now() time.Duration {
	if c.cfg.sleep != nil {
		return c.slept
	}
	return realClock.Now()
}

func (c *check) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	if c.cfg.sleep != nil {
		c.cfg.sleep(d)
		c.slept += d
		return
	}
	done := make(chan struct{})
	realClock.AfterFunc(d, func() { close(done) })
	<-done
}

// roundUp is a TTL in the node's unit.
func (c *check) roundUp(ttl time.Duration) time.Duration {
	return (ttl + c.cfg.grain - 1) / c.cfg.grain * c.cfg.grain
}

func (c *check) context() (context.Context, context.CancelFunc) {
	return realClock.WithTimeout(context.Background(), stuck)
}

func (c *check) acquire(key, owner string, ttl time.Duration, hint uint64) redlock.Vote {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	v, err := c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: ttl, Hint: hint})
	c.must(err, "acquire", key)
	return v
}

func (c *check) confirm(key, owner string, fence, token uint64) redlock.Vote {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	v, err := c.node.Confirm(ctx, redlock.ConfirmRequest{Key: key, Owner: owner, Fence: fence, Token: token})
	c.must(err, "confirm", key)
	return v
}

func (c *check) extend(key, owner string, fence uint64, ttl time.Duration) redlock.Vote {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	v, err := c.node.Extend(ctx, redlock.ExtendRequest{Key: key, Owner: owner, Fence: fence, TTL: ttl})
	c.must(err, "extend", key)
	return v
}

func (c *check) release(key, owner string) {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	c.must(c.node.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: owner}), "release", key)
}

func (c *check) inspect(key string) redlock.NodeState {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	s, err := c.node.Inspect(ctx, key)
	c.must(err, "inspect", key)
	return s
}

// granted acquires a key that must be free, or the owner's.
func (c *check) granted(key, owner string, ttl time.Duration) redlock.Vote {
	c.Helper()
	return c.grantedHint(key, owner, ttl, 0)
}

func (c *check) grantedHint(key, owner string, ttl time.Duration, hint uint64) redlock.Vote {
	c.Helper()
	v := c.acquire(key, owner, ttl, hint)
	if !v.Granted {
		c.violated("an acquire of %q by %s, which nobody else holds, was refused: %+v", key, owner, v)
	}
	return v
}

// refused has the owner ask for a key that it must not get.
func (c *check) refused(key, owner, why string) redlock.Vote {
	c.Helper()
	v := c.acquire(key, owner, long, 0)
	if v.Granted {
		c.violated("an acquire of %q by %s was granted, although %s", key, owner, why)
	}
	return v
}

// holds checks that the owner holds the key.
func (c *check) holds(key, owner string) {
	c.Helper()
	if s := c.inspect(key); !s.Held || s.Owner != owner {
		c.violated("%q should be held by %s, but the node says %+v", key, owner, s)
	}
}

// free checks that nobody holds the key.
func (c *check) free(key string) {
	c.Helper()
	if s := c.inspect(key); s.Held {
		c.violated("%q should be free, but the node says %+v", key, s)
	}
}

// expire waits until a grant of that TTL, made before, has run out.
func (c *check) expire(key string, ttl time.Duration) {
	c.Helper()
	c.sleep(c.roundUp(ttl) + c.cfg.grain)
	for end := c.now() + lag; c.inspect(key).Held; c.sleep(c.cfg.grain) {
		if c.now() > end {
			c.violated("%q was still held %v after a grant for %v had run out", key, lag, ttl)
		}
	}
}

// standsUntil asks for a held key, as others, until the instant end, on the
// node's time, and fails if one of them gets it. The last answers are the ones
// that matter, and a slow machine may be late for them: it reports whether it saw
// the grant stand near its end.
func (c *check) standsUntil(key string, end time.Duration) (seen bool) {
	c.Helper()
	const near, step = 5 * time.Millisecond, 250 * time.Microsecond
	for {
		v := c.acquire(key, newOwner(), time.Nanosecond, 0)
		left := end - c.now()
		if left <= 0 {
			return seen // answered perhaps after the end: not to be judged
		}
		if v.Granted {
			c.violated("%q was granted to another owner at least %v before the grant that was in force could end", key, left)
		}
		seen = seen || left <= near
		if left > near {
			c.sleep(left - near)
		} else {
			c.sleep(step)
		}
	}
}

// judge repeats an attempt until it could be judged. On a machine so slow that
// none can, nothing is proved, and that is said.
func (c *check) judge(attempt func() (judged bool)) {
	c.Helper()
	for range 10 {
		if attempt() {
			return
		}
	}
	c.Skip("the machine is too slow to observe a grant before its end")
}
