package redlock

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/quorumlock/redlock/internal/protocol"
)

// calls are requests that leave together. They are used again for other attempts
// once all of them are answered.
type calls struct {
	attempt *attempt
	list    []nodeCall
	scratch Scratch
	done    func(*Call) // answered, made once for all that these will ever be
	left    atomic.Int32

	ctx    context.Context // for nodes that are no Submitters
	cancel context.CancelFunc
}

// nodeCall is one request on its way to a node.
type nodeCall struct {
	Call
	node    int
	request uint32
	sent    protocol.Instant
}

// newCallsPool makes a pool of calls to so many nodes.
func newCallsPool(nodes int) *sync.Pool {
	return &sync.Pool{New: func() any {
		c := &calls{list: make([]nodeCall, 0, nodes)}
		c.done = c.answered
		return c
	}}
}

// add takes in one request. It counts as sent from now on, a moment before it leaves:
// what follows from that errs to the safe side.
func (c *calls) add(a *attempt, out *protocol.Output, now protocol.Instant) {
	req := &out.Request
	c.list = append(c.list, nodeCall{}) // in place: calls are large
	call := &c.list[len(c.list)-1]
	call.node, call.request, call.sent = out.Node, req.ID, now
	call.Op, call.Key, call.Owner = Op(req.Op), a.key, a.owner
	call.TTL, call.Hint, call.Fence, call.Token = req.TTL, req.Hint, req.Fence, req.Token
	call.Timeout, call.Done, call.Scratch = a.cfg.NodeTimeout, c.done, &c.scratch
	if req.First {
		call.Place = a.round.place
		if !req.Queue {
			call.Place.Hold = 0
		}
	}
	if req.Op == protocol.Release && a.waited {
		call.Hint = 0
	}
	// Nothing is acquired after a release, and what heals a lease may come behind
	// a release that somebody else forced.
	call.Ordered = req.First || req.Op == protocol.Release
	call.Wake = req.Wake
}

// send lets the calls leave, with the caller's values.
func (c *calls) send(caller context.Context) {
	g := c.attempt.group
	c.left.Store(int32(len(c.list)))
	// The last of them may be answered, and all of this be used again, before the
	// loop ends.
	list := c.list
	for i := range list {
		if s := g.submitters[list[i].node]; s != nil {
			s.Submit(&list[i].Call)
			continue
		}
		if c.ctx == nil {
			c.ctx, c.cancel = g.clock.WithTimeout(context.WithoutCancel(caller), c.attempt.cfg.NodeTimeout)
		}
		go g.call(c.ctx, &list[i])
	}
}

// call carries a call to a node that is no Submitter.
func (g *group) call(ctx context.Context, c *nodeCall) {
	n := g.nodes[c.node]
	switch c.Op {
	case OpAcquire:
		c.Vote, c.Err = n.Acquire(ctx, AcquireRequest{Key: c.Key, Owner: c.Owner, TTL: c.TTL, Hint: c.Hint, Place: c.Place})
	case OpConfirm:
		c.Vote, c.Err = n.Confirm(ctx, ConfirmRequest{Key: c.Key, Owner: c.Owner, Fence: c.Fence, Token: c.Token})
	case OpExtend:
		c.Vote, c.Err = n.Extend(ctx, ExtendRequest{Key: c.Key, Owner: c.Owner, Fence: c.Fence, TTL: c.TTL})
	case OpRelease:
		c.Err = n.Release(ctx, ReleaseRequest{Key: c.Key, Owner: c.Owner})
	}
	c.Done(&c.Call)
}

// answered is told by a node of an answer to one of the calls.
func (c *calls) answered(call *Call) {
	a := c.attempt
	for i := range c.list {
		if &c.list[i].Call == call {
			a.answered(&c.list[i], a.group.answeredAt(call))
			break
		}
	}
	if c.left.Add(-1) == 0 {
		if c.cancel != nil {
			c.cancel()
		}
		clear(c.list) // let go of what they refer to
		c.attempt, c.ctx, c.cancel, c.list = nil, nil, nil, c.list[:0]
		a.group.calls.Put(c)
	}
	a.rest()
}
