package redlock_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// Each test here shows that a bug is absent which lock libraries were found to
// have.

// A request that a slow node handles only after the unlock must not leave the
// key locked there: the release is final on the node, whatever the order.
func TestNoOrphanAfterUnlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		w.nodes[2].set(func(n *testNode) { n.late["acquire"] = 3 * time.Second })
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))
		time.Sleep(2 * time.Second)
		assert.Empty(t, w.holders(t, "k"))
		time.Sleep(2 * time.Second) // the acquire is handled meanwhile
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A caller that goes away in the middle of a round leaves nothing behind, though
// its context is dead.
func TestCleanupUnderADeadContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5, redlock.Options{})
		for _, n := range w.nodes[2:] {
			n.set(func(n *testNode) { n.there = 100 * time.Millisecond })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := w.locker.Lock(ctx, "k")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 20*time.Millisecond, time.Since(start))
		time.Sleep(300 * time.Millisecond)
		assert.Empty(t, w.holders(t, "k"))

		// And unlocking does its work under a dead context, as in a defer.
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(ctx))
		time.Sleep(300 * time.Millisecond)
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A holder that is cut off hears of the loss from its own clock, at the end of
// validity, while its packets go nowhere.
func TestLossIsToldInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		start := time.Now()
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, n := range w.nodes {
			n.freeze(true)
		}
		<-lease.Done()
		assert.Equal(t, 9898*time.Millisecond, time.Since(start), "TTL less 1 % less 2 ms, from the first request")
		require.ErrorIs(t, context.Cause(lease.Context()), redlock.ErrLost)
		require.ErrorIs(t, lease.Unlock(t.Context()), redlock.ErrLost)
		require.ErrorIs(t, lease.Extend(t.Context(), 0), redlock.ErrLost)
		synctest.Wait() // the observer is told after the context has ended
		require.Len(t, w.events.of(redlock.EventLost), 1)
		for _, n := range w.nodes {
			assert.NotEmpty(t, n.holder(t, "k"), "and before any node gives the key to others")
		}
	})
}

// One lost packet is not a lost lock.
func TestOneBlipIsNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for range 20 {
			for _, n := range w.nodes {
				n.freeze(true)
			}
			time.Sleep(5 * time.Second)
			for _, n := range w.nodes {
				n.freeze(false)
			}
			time.Sleep(5 * time.Second)
			require.NoError(t, lease.Err())
		}
	})
}

// A frozen node is not waited for, by a lock or by an unlock, and keeps no key
// once it thaws.
func TestNoWaitingForAFrozenNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5, redlock.Options{})
		w.nodes[4].freeze(true)
		for range 10 {
			start := time.Now()
			lease, err := w.locker.Lock(t.Context(), "k")
			require.NoError(t, err)
			require.NoError(t, lease.Unlock(t.Context()))
			assert.Equal(t, 2*time.Millisecond, time.Since(start))
		}
		w.nodes[4].freeze(false)
		time.Sleep(10 * time.Second)
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A tie is decided at once: nobody waits for a vote that cannot matter.
func TestATieIsSettled(t *testing.T) {
	for _, n := range []int{2, 4, 6} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, n, redlock.Options{})
			for _, node := range w.nodes[:n/2] {
				_, err := node.Node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: "other", TTL: time.Minute})
				require.NoError(t, err)
			}
			start := time.Now()
			_, err := w.locker.TryLock(t.Context(), "k")
			require.ErrorIs(t, err, redlock.ErrNotAcquired)
			assert.Equal(t, time.Millisecond, time.Since(start))
			time.Sleep(10 * time.Millisecond)
			assert.Len(t, w.holders(t, "k"), n/2, "our half is given back")
		})
	}
}

// Votes that come when the TTL is nearly over are no success, however many.
func TestSlowAcquireIsNoSuccess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{TTL: time.Second, NodeTimeout: 490 * time.Millisecond, MinValidity: 490 * time.Millisecond})
		// Counters apart, so that a second trip is needed.
		for i, n := range w.nodes {
			hint := uint64(time.Now().Add(time.Minute).UnixMicro()) + uint64(i)
			_, err := n.Node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: "0", TTL: time.Millisecond, Hint: hint})
			require.NoError(t, err)
			n.set(func(n *testNode) { n.there = 300 * time.Millisecond })
		}
		time.Sleep(time.Second)
		start := time.Now()
		_, err := w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		require.ErrorContains(t, err, "too late")
		assert.Less(t, time.Since(start), time.Second)
		time.Sleep(time.Second)
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A lease that is over stays over: neither Extend nor a renewal takes the key
// again, even while nobody else has it.
func TestExtendDoesNotResurrect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{NoRenew: true})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		require.ErrorIs(t, lease.Extend(t.Context(), 0), redlock.ErrLost)
		time.Sleep(time.Second)
		assert.Empty(t, w.holders(t, "k"))

		// An extension that is under way when the validity ends, and gets
		// through to the nodes a moment later, finds no lease to extend.
		lease, err = w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(lease.Remaining() - 50*time.Millisecond)
		for _, n := range w.nodes {
			n.set(func(n *testNode) { n.there = 60 * time.Millisecond })
		}
		require.ErrorIs(t, lease.Extend(t.Context(), 0), redlock.ErrLost)
		require.ErrorIs(t, lease.Err(), redlock.ErrLost)
		time.Sleep(time.Second)
		assert.Empty(t, w.holders(t, "k"))
	})
}

// Contention, outage and the caller's own impatience are three errors.
func TestContentionIsNoOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		_, err = w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.NotErrorIs(t, err, redlock.ErrNoQuorum)
		var q *redlock.QuorumError
		require.ErrorAs(t, err, &q)
		assert.Equal(t, 2, q.Need)
		assert.Contains(t, q.Error(), "held by "+lease.Owner())

		// With one node down it is still contention.
		w.nodes[0].SetDown(errors.New("no route"))
		_, err = w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)

		// With two down it is an outage, told within about a node timeout.
		w.nodes[1].freeze(true)
		for _, lock := range []func(context.Context, string) (*redlock.Lease, error){w.locker.TryLock, w.another(t, redlock.Options{}).Lock} {
			start := time.Now()
			_, err = lock(t.Context(), "k")
			require.ErrorIs(t, err, redlock.ErrNoQuorum)
			require.NotErrorIs(t, err, redlock.ErrNotAcquired)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "a node's timeout is not the caller's")
			require.ErrorAs(t, err, &q)
			assert.ErrorContains(t, q.Votes[0].Err, "no route")
			assert.LessOrEqual(t, time.Since(start), 251*time.Millisecond)
		}
	})
}

// A context that ends while the nodes are silent tells of an outage, not of others
// who hold the key: nobody said so.
func TestAnOutageIsNoContentionWhenTheContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, within := range []time.Duration{10, 300, 400, 437, 474, 511, 999, 1000, 1001} {
			w := newWorld(t, 3, redlock.Options{OutageWait: -1})
			for _, n := range w.nodes {
				n.freeze(true)
			}
			for _, lock := range []func(context.Context, string) (*redlock.Lease, error){w.locker.Lock, w.locker.TryLock} {
				ctx, cancel := context.WithTimeout(t.Context(), within*time.Millisecond)
				_, err := lock(ctx, "k")
				require.ErrorIs(t, err, redlock.ErrNoQuorum, within)
				require.NotErrorIs(t, err, redlock.ErrNotAcquired, within)
				cancel()
			}
			for _, e := range w.events.of(redlock.EventRound) {
				cutShort := e.Latency < 250*time.Millisecond
				require.Equal(t, cutShort, errors.Is(e.Err, context.DeadlineExceeded), "an observer can tell a verdict from a want of patience")
			}
		}
	})
}

// Nor does contention become an outage when the context ends before the nodes
// have said once more who holds the key.
func TestContentionIsNoOutageWhenTheContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		waiting := w.another(t, redlock.Options{Observer: w.events, RetryMax: 2 * time.Millisecond})
		for within := time.Second; within < time.Second+5*time.Millisecond; within += 100 * time.Microsecond {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			_, err = waiting.Lock(ctx, "k")
			require.ErrorIs(t, err, redlock.ErrNotAcquired, within)
			require.ErrorIs(t, err, context.DeadlineExceeded, within)
			require.NotErrorIs(t, err, redlock.ErrNoQuorum, within)
			require.ErrorContains(t, err, "held by "+lease.Owner(), within)
			cancel()
		}

		// One node refused before the context ended, and the others are slow.
		for _, n := range w.nodes[1:] {
			n.set(func(n *testNode) { n.there = 50 * time.Millisecond })
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err = waiting.TryLock(ctx, "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A context that ends between two attempts leaves the reason for the waiting in the
// error, also where the next attempt would follow at once.
func TestAContextThatEndsBeforeAPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		_, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err = w.another(t, redlock.Options{Observer: observe(func(e redlock.Event) {
			if e.Kind == redlock.EventWaiting {
				assert.Zero(t, e.Latency)
				cancel()
			}
		})}).Lock(ctx, "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "redlock: lock")
	})
}

// A short outage is ridden out, and a node that is away for good is not.
func TestOutageWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{OutageWait: time.Minute})
		w.down(errors.New("restarting"))
		time.AfterFunc(30*time.Second, func() { w.down(nil) })
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))

		w.down(errors.New("gone"))
		start := time.Now()
		_, err = w.locker.Lock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		assert.InDelta(t, 60, time.Since(start).Seconds(), 1)
		w.down(nil)
	})
}

// Every try has an owner of its own: a late release of one try must not free the
// next.
func TestEveryTryHasAFreshOwner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.AfterFunc(5*time.Second, func() { _ = lease.Unlock(context.Background()) })
		second, err := w.another(t, redlock.Options{}).Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, second.Unlock(t.Context()))
		owners := w.nodes[0].owners
		require.Greater(t, len(owners), 3)
		slices.Sort(owners)
		assert.Len(t, slices.Compact(owners), w.nodes[0].count("acquire"))
		for _, owner := range owners {
			assert.Len(t, owner, 32)
		}
	})
}

// The release of a lease ends its renewal: none is sent after it.
func TestRenewalEndsWithUnlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(10*time.Second/3 - time.Microsecond)
		require.NoError(t, lease.Unlock(t.Context()))
		extends := w.nodes[0].count("extend")
		time.Sleep(time.Minute)
		assert.Equal(t, extends, w.nodes[0].count("extend"))
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A lost answer is no vote, and no leftover.
func TestLostAnswersLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		for _, n := range w.nodes[:2] {
			n.set(func(n *testNode) { n.mute["acquire"] = true })
		}
		_, err := w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		assert.Empty(t, w.holders(t, "k"))
	})
}

// A process that was suspended past its validity knows before any timer fires.
func TestErrLooksAtTheClock(t *testing.T) {
	clock := &skippingClock{}
	nodes := memnode.NewN(3, memnode.Options{Clock: clock})
	l, err := redlock.New(nodes, redlock.Options{Clock: clock, NoRenew: true})
	require.NoError(t, err)
	lease, err := l.Lock(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, lease.Err())
	clock.skip(9900 * time.Millisecond) // no timer runs
	require.ErrorIs(t, lease.Err(), redlock.ErrLost)
	select {
	case <-lease.Context().Done():
	default:
		t.Fatal("the context did not end with the validity")
	}
	assert.LessOrEqual(t, lease.Remaining(), time.Duration(0))
	require.NoError(t, l.Close(t.Context()))
}
