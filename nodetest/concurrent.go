package nodetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/quorumlock/redlock"
)

// The functions here run in goroutines of a case, where a test may not fail: they
// return what went wrong, or nothing.

// cycle takes, uses and gives up a key that nobody else wants, over and over.
func cycle(ctx context.Context, node redlock.Node, key string, rounds int) string {
	var last uint64
	for range rounds {
		owner := newOwner()
		v, err := node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
		if err != nil || !v.Granted || v.Fence <= last {
			return fmt.Sprintf("acquire of a key of its own: %+v, %v, after fence %d", v, err, last)
		}
		confirmed, err := node.Confirm(ctx, redlock.ConfirmRequest{Key: key, Owner: owner, Fence: v.Fence, Token: v.Fence + 1})
		if err != nil || !confirmed.Granted {
			return fmt.Sprintf("confirm of its grant: %+v, %v", confirmed, err)
		}
		extended, err := node.Extend(ctx, redlock.ExtendRequest{Key: key, Owner: owner, Fence: v.Fence, TTL: long})
		if err != nil || !extended.Granted {
			return fmt.Sprintf("extend of its grant: %+v, %v", extended, err)
		}
		s, err := node.Inspect(ctx, key)
		if err != nil || !s.Held || s.Owner != owner || s.Fence != v.Fence {
			return fmt.Sprintf("inspect of its key, held with fence %d: %+v, %v", v.Fence, s, err)
		}
		if err := node.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: owner}); err != nil {
			return fmt.Sprintf("release of its grant: %v", err)
		}
		last = v.Fence + 1
	}
	return ""
}

// contend asks for a key that others want too. Who has it is alone inside.
func contend(ctx context.Context, node redlock.Node, key string, inside *sync.Mutex, rounds int) string {
	for range rounds {
		owner := newOwner()
		v, err := node.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: long})
		if err != nil {
			return fmt.Sprintf("acquire of a contended key: %v", err)
		}
		if v.Granted {
			if !inside.TryLock() {
				return "a grant while another one stood"
			}
			s, err := node.Inspect(ctx, key)
			// Given up before the release is sent, not after its answer: the
			// next holder may be there by then.
			inside.Unlock()
			if err != nil || s.Owner != owner {
				return fmt.Sprintf("inspect of a contended key, held: %+v, %v", s, err)
			}
		}
		if err := node.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: owner}); err != nil {
			return fmt.Sprintf("release of a contended key: %v", err)
		}
	}
	return ""
}
