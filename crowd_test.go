package redlock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/quorumlock/redlock"
)

// crowd is many goroutines that want few keys, and a record of who held what.
type crowd struct {
	keys                               []crowdKey
	acquired, lost, overlaps, disorder atomic.Int64
}

type crowdKey struct {
	mu     sync.Mutex
	holder *redlock.Lease
	token  uint64
}

func newCrowd(keys int) *crowd { return &crowd{keys: make([]crowdKey, keys)} }

// run has goroutines lock and unlock keys at random for a while.
func (c *crowd) run(t *testing.T, l *redlock.Locker, goroutines int, duration time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var workers sync.WaitGroup
	for range goroutines {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := rand.IntN(len(c.keys))
				lease, err := l.Lock(ctx, fmt.Sprintf("key-%d", i))
				if err != nil {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				c.keys[i].enter(c, lease)
				time.Sleep(rand.N(2 * time.Millisecond))
				c.keys[i].leave(c, lease)
				_ = lease.Unlock(ctx) // whether a majority confirmed in time is not the point
			}
		})
	}
	workers.Wait()
}

func (k *crowdKey) enter(c *crowd, lease *redlock.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder != nil && k.holder.Err() == nil {
		c.overlaps.Add(1)
	}
	if lease.Token() <= k.token {
		c.disorder.Add(1)
	}
	k.holder, k.token = lease, lease.Token()
	c.acquired.Add(1)
}

func (k *crowdKey) leave(c *crowd, lease *redlock.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder == lease {
		k.holder = nil
	}
	if lease.Err() != nil {
		c.lost.Add(1)
	}
}

func (c *crowd) check(t *testing.T) {
	t.Helper()
	t.Logf("%d acquisitions, %d overlaps, %d tokens out of order, %d leases lost",
		c.acquired.Load(), c.overlaps.Load(), c.disorder.Load(), c.lost.Load())
	assert.Zero(t, c.overlaps.Load())
	assert.Zero(t, c.disorder.Load())
	assert.Greater(t, c.acquired.Load(), int64(len(c.keys)))
}
