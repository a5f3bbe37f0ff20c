package redisnode

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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

// scriptOf is the script of an operation.
func scriptOf(op redlock.Op) *script {
	switch op {
	case redlock.OpAcquire:
		return acquireScript
	case redlock.OpConfirm:
		return confirmScript
	case redlock.OpExtend:
		return extendScript
	}
	return releaseScript
}

// appendCall writes a call as a script's.
func (n *Node) appendCall(b []byte, w *waiting, to *link, mode string) []byte {
	call := w.call
	s := scriptOf(call.Op)
	queues := call.Op == redlock.OpAcquire || call.Op == redlock.OpRelease
	tombstone := call.Op == redlock.OpAcquire || call.Op == redlock.OpRelease && !(call.Ordered && to.sealed)
	keys := 2
	if queues {
		keys++
	}
	if tombstone {
		keys++
	}
	b = appendArray(b, 3+keys+s.arguments)
	if w.how == byText || w.how == toSettle {
		b = appendBulk(appendBulk(b, "EVAL"), s.source)
	} else {
		b = appendBulk(appendBulk(b, "EVALSHA"), s.digest)
	}
	b = appendNumber(b, uint64(keys))
	b = n.appendKey(b, call.Key, "", "")
	at := counterOf(tagOf(call.Key))
	b = appendBulk(b, n.fencesOf(at))
	if queues {
		b = n.appendKey(b, call.Key, queueInfix, "")
	}
	if tombstone {
		b = n.appendKey(b, call.Key, tombstoneInfix, call.Owner)
	}
	b = appendBulk(b, mode)
	if call.Op != redlock.OpRelease {
		b = appendNumber(b, uint64(n.place(at)))
	}
	b = appendBulk(b, call.Owner)
	switch call.Op {
	case redlock.OpAcquire:
		b = appendNumber(b, uint64(milliseconds(call.TTL)))
		switch {
		case w.instead != 0:
			b = appendBulk(appendNumber(b, w.instead), "settle")
		case w.how == toSettle:
			b = appendBulk(appendNumber(b, call.Hint), "count")
		default:
			b = appendBulk(appendNumber(b, min(call.Hint, redlock.MaxFence)), flag(!call.Ordered || !to.sealed))
		}
		b = appendPlace(b, call.Place, to)
	case redlock.OpConfirm:
		b = appendNumber(appendNumber(b, call.Fence), call.Token)
	case redlock.OpExtend:
		b = appendNumber(appendNumber(b, call.Fence), uint64(milliseconds(call.TTL)))
	case redlock.OpRelease:
		if tombstone {
			b = appendNumber(b, uint64(n.tombstone))
		} else {
			b = appendBulk(b, "")
		}
		b = appendBulk(b, n.wakes)
		b = appendNumber(appendBulk(b, flag(call.Wake)), uint64(n.place(at)))
	}
	return b
}

func flag(is bool) string {
	if is {
		return "1"
	}
	return ""
}

// appendPlace writes what the acquire script takes of a waiter; no place, if it does not
// want one or could not be called.
func appendPlace(b []byte, p redlock.Place, to *link) []byte {
	if p.Waiter == "" || to.channel == "" {
		return append(b, "$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"...)
	}
	b = appendBulk(b, p.Waiter)
	if p.Hold == 0 {
		return append(b, "$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"...)
	}
	b = appendNumber(b, p.Since)
	b = appendMember(b, p, to)
	return appendNumber(b, uint64(queueKept.Milliseconds()))
}

// queueKept is for how long a queue is kept from when somebody last asked for a place.
// Waiters do that every now and then.
const queueKept = time.Minute

// appendMember writes a place as lua/queue.lua has it.
func appendMember(b []byte, p redlock.Place, to *link) []byte {
	var buf [256]byte
	member := append(append(buf[:0], p.Waiter...), to.channel...)
	member = append(strconv.AppendInt(member, milliseconds(p.Hold), 10), ';')
	if to.native.Load() {
		member = appendAside(member, p.Waiter)
	}
	return appendBulk(b, member)
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
