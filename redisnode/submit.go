package redisnode

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
)

var _ redlock.Submitter = (*Node)(nil)

// maxWaiting bounds the calls that a node has not answered yet, but for releases.
const maxWaiting = 16384

var errTooMany = fmt.Errorf("%d calls wait for the server already", maxWaiting)

// Submit implements redlock.Submitter. With a client for one server or for a
// Sentinel group, calls share one ordered connection of their own; with any
// other, each is made on its own, and the tombstones keep a late acquire from
// undoing a release.
func (n *Node) Submit(call *redlock.Call) {
	if err := n.checkCall(call); err != nil {
		n.finish(call, answer{}, identified{}, err)
		return
	}
	if n.stream != nil {
		if call.Place.Waiter != "" && call.Place.Hold == 0 {
			n.stream.place(call, false)
		}
		n.stream.submit(call)
		return
	}
	if n.apart.Add(1) > maxWaiting && call.Op != redlock.OpRelease {
		n.apart.Add(-1)
		n.finish(call, answer{}, identified{}, errTooMany)
		return
	}
	go func() {
		defer n.apart.Add(-1)
		n.callApart(call)
	}()
}

// callApart makes a call by the simple methods.
func (n *Node) callApart(call *redlock.Call) {
	ctx, cancel := n.clock.WithTimeout(context.Background(), call.Timeout)
	defer cancel()
	switch call.Op {
	case redlock.OpAcquire:
		call.Vote, call.Err = n.Acquire(ctx, redlock.AcquireRequest{Key: call.Key, Owner: call.Owner, TTL: call.TTL, Hint: call.Hint})
	case redlock.OpConfirm:
		call.Vote, call.Err = n.Confirm(ctx, redlock.ConfirmRequest{Key: call.Key, Owner: call.Owner, Fence: call.Fence, Token: call.Token})
	case redlock.OpExtend:
		call.Vote, call.Err = n.Extend(ctx, redlock.ExtendRequest{Key: call.Key, Owner: call.Owner, Fence: call.Fence, TTL: call.TTL})
	default:
		call.Err = n.Release(ctx, redlock.ReleaseRequest{Key: call.Key, Owner: call.Owner})
	}
	call.Done(call)
}

// checkCall refuses what cannot be asked of any server.
func (n *Node) checkCall(call *redlock.Call) error {
	if err := n.check(call.Key, call.Owner); err != nil {
		return err
	}
	switch call.Op {
	case redlock.OpAcquire, redlock.OpExtend:
		if call.TTL <= 0 {
			return errTTL
		}
		if w := call.Place.Waiter; w != "" && !isWaiter(w) {
			return fmt.Errorf("the waiter %.40q is not %d hexadecimal digits", w, redlock.WaiterLength)
		}
	case redlock.OpConfirm:
		if call.Token > redlock.MaxFence {
			return errToken
		}
	case redlock.OpRelease:
	default:
		return fmt.Errorf("unknown operation %d", call.Op)
	}
	return nil
}

// finish fills in the outcome of a call and tells its caller.
func (n *Node) finish(call *redlock.Call, a answer, who identified, err error) {
	switch {
	case err != nil:
		call.Vote, call.Err = redlock.Vote{}, n.explain(opNames[call.Op], err)
	case call.Op == redlock.OpRelease:
		call.Vote, call.Err = redlock.Vote{}, nil
	default:
		call.Vote, call.Err = n.voteOf(a, who), nil
	}
	call.Done(call)
}

// isReserved finds what owners cannot have, as it has a meaning in a lock's value. It
// takes less time than strings.ContainsAny.
func isReserved(owner string) bool {
	return strings.IndexByte(owner, '~') >= 0 || strings.IndexByte(owner, ':') >= 0
}

func isWaiter(id string) bool {
	_, err := hex.DecodeString(id)
	return err == nil && len(id) == redlock.WaiterLength
}

var opNames = map[redlock.Op]string{
	redlock.OpAcquire: "acquire",
	redlock.OpConfirm: "confirm",
	redlock.OpExtend:  "extend",
	redlock.OpRelease: "release",
}

// streamable says whether one connection can carry all calls.
func streamable(client redis.UniversalClient) (*redis.Client, bool) {
	c, ok := client.(*redis.Client)
	if !ok || c.Options().StreamingCredentialsProvider != nil {
		return nil, false // it signs in again on a connection while that is in use
	}
	return c, true
}

var (
	errClosed = errors.New("the node is closed")
	errBroken = errors.New("the connection broke")

	errReleased = errors.New("the owner was released before its fence was known")
)
