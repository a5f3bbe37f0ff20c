package nodetest

import (
	"time"

	"github.com/quorumlock/redlock"
)

var queueCases = []testCase{
	{name: "oldest_first", run: func(c *check) {
		q := c.queue()
		q.wait(q.first, 2)
		q.wait(q.second, 1) // it came later, and has waited for longer
		if q.called(q.first) || q.called(q.second) {
			c.violated("a waiter of %q was called before the key was free", q.key)
		}
		c.release(q.key, q.holder)
		q.mustBeCalled(q.second)
		if q.called(q.first) {
			c.violated("the waiter of %q that waited for less was called as well", q.key)
		}
		c.refused(q.key, newOwner(), "it is set aside for a waiter")
		if v := q.acquire(q.first, 2); v.Granted {
			c.violated("%q was granted to a waiter while it was set aside for another", q.key)
		}
		next := newOwner()
		v := c.acquireAt(q.key, next, q.place(q.second, 1))
		if !v.Granted {
			c.violated("%q was set aside for a waiter and not granted to it: %+v", q.key, v)
		}
		c.holds(q.key, next)
		c.release(q.key, next)
		q.mustBeCalled(q.first)
	}},
	{name: "set_aside_and_lapsed", run: func(c *check) {
		q := c.queue()
		q.hold = c.roundUp(50 * time.Millisecond)
		q.wait(q.first, 1)
		c.release(q.key, q.holder)
		q.mustBeCalled(q.first)
		c.sleep(q.hold + c.cfg.grain + 10*time.Millisecond)
		c.granted(q.key, newOwner(), long)
	}},
	{name: "gone_waiter", run: func(c *check) {
		q := c.queue()
		q.wait(q.first, 1)
		q.wait(q.second, 2)
		q.stops[q.first]()
		c.release(q.key, q.holder)
		q.mustBeCalled(q.second)
		if q.called(q.first) {
			c.violated("a waiter of %q that had stopped was called", q.key)
		}
	}},
	{name: "gone_when_called", run: func(c *check) {
		q := c.queue()
		q.wait(q.first, 1)
		q.wait(q.second, 2)
		c.release(q.key, q.holder)
		q.mustBeCalled(q.first)
		q.stops[q.first]() // it got the lock from other nodes, or gave up
		q.mustBeCalled(q.second)
	}},
	{name: "no_queue_no_setting_aside", run: func(c *check) {
		q := c.queue()
		q.wait(q.first, 1)
		c.release(q.key, q.holder)
		q.mustBeCalled(q.first)
		owner := newOwner()
		if v := c.acquireAt(q.key, owner, q.place(q.first, 1)); !v.Granted {
			c.violated("%q was set aside for a waiter and not granted to it: %+v", q.key, v)
		}
		c.release(q.key, owner)
		c.granted(q.key, newOwner(), long) // nobody waits any more
	}},
}

// queue is a key that is held, with two who may wait for it.
type queue struct {
	*check
	key, holder   string
	first, second string
	hold          time.Duration
	calls         map[string]chan struct{}
	stops         map[string]func()
}

// queue ends the case if the node is no Waker, or keeps no queue for this one.
func (c *check) queue() *queue {
	c.Helper()
	waker, ok := c.node.(redlock.Waker)
	if !ok {
		c.Skip("the node is no Waker")
	}
	q := &queue{check: c, key: c.newKey(), holder: newOwner(), first: newOwner(), second: newOwner(), hold: long,
		calls: make(map[string]chan struct{}), stops: make(map[string]func())}
	c.granted(q.key, q.holder, long)
	for _, waiter := range []string{q.first, q.second} {
		called := make(chan struct{}, 16)
		q.calls[waiter] = called
		q.stops[waiter] = waker.Watch(q.key, waiter, func() { called <- struct{}{} })
		c.Cleanup(q.stops[waiter])
	}
	return q
}

func (q *queue) place(waiter string, since uint64) redlock.Place {
	return redlock.Place{Waiter: waiter, Since: since, Hold: q.hold}
}

// wait has a waiter queue.
func (q *queue) wait(waiter string, since uint64) {
	q.Helper()
	v := q.acquire(waiter, since)
	switch {
	case v.Granted:
		q.violated("%q, which is held, was granted to a waiter", q.key)
	case !v.Queued:
		q.Skip("the node keeps no queue for acquires made like this")
	}
	if again := q.acquire(waiter, since); again.Granted || !again.Queued {
		q.violated("a waiter of %q that asked again has no place any more: %+v", q.key, again)
	}
}

func (q *queue) acquire(waiter string, since uint64) redlock.Vote {
	q.Helper()
	return q.acquireAt(q.key, newOwner(), q.place(waiter, since))
}

func (c *check) acquireAt(key, owner string, p redlock.Place) redlock.Vote {
	c.Helper()
	ctx, cancel := c.context()
	defer cancel()
	v, err := c.node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long, Place: p})
	c.must(err, "acquire", key)
	return v
}

func (q *queue) called(waiter string) bool {
	select {
	case <-q.calls[waiter]:
		return true
	default:
		return false
	}
}

func (q *queue) mustBeCalled(waiter string) {
	q.Helper()
	ctx, cancel := q.context()
	defer cancel()
	select {
	case <-q.calls[waiter]:
	case <-ctx.Done():
		q.violated("the waiter whose turn it is for %q was not called", q.key)
	}
}
