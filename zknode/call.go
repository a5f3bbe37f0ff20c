package zknode

import (
	"context"
	"sync/atomic"
)

// call is one call of a user. The driver knows no contexts, so the work runs in
// a goroutine of its own, which the user leaves behind when the context ends.
// Who works must then know whether anybody still hears of it: a grant that
// nobody hears of is taken back.
type call struct {
	ctx     context.Context
	settled atomic.Bool // by the first of tell and leave

	placings int // how often it tried to have a place kept
}

// tell says that the call will return to its user. It reports false if the user
// has left.
func (c *call) tell() bool { return c.settled.CompareAndSwap(false, true) }

// leave says that the user does not wait any more. It reports false if the work
// was done by then.
func (c *call) leave() bool { return c.settled.CompareAndSwap(false, true) }

// live fails if the user has left, so that nothing more is sent.
func (c *call) live() error { return c.ctx.Err() }

// ask checks a request, does the work, and returns when that is done or the
// context ends.
func ask[T any](ctx context.Context, n *Node, op, key, owner string, work func(*call) (T, error)) (T, error) {
	var none T
	if err := n.check(key, owner); err != nil {
		return none, n.explain(op, err)
	}
	value, err := within(ctx, n, work)
	if err != nil {
		return none, n.explain(op, err)
	}
	return value, nil
}

func within[T any](ctx context.Context, n *Node, work func(*call) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	c := &call{ctx: ctx}
	results := make(chan result, 1)
	if !n.spawn(func() {
		value, err := work(c)
		c.tell()
		results <- result{value, err}
	}) {
		return none, errClosed
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		if c.leave() {
			return none, ctx.Err()
		}
		r := <-results // on its way
		return r.value, r.err
	}
}

// spawn runs f in a goroutine that Close waits for, unless the node is closed.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.calls.Go(f)
	return true
}
