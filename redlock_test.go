package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// One round trip is all that an uncontended lock costs, and one all that its
// release does, on every size of quorum.
func TestLockTakesOneRoundTrip(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, n, redlock.Options{})
				start := time.Now()
				lease, err := w.locker.Lock(t.Context(), "k")
				require.NoError(t, err)
				assert.Equal(t, time.Millisecond, time.Since(start))
				assert.Len(t, w.holders(t, "k"), n)
				assert.Equal(t, "k", lease.Key())
				assert.NoError(t, lease.Err())
				// TTL 10 s, less 1 ms of waiting, less 1 % and 2 ms.
				assert.Equal(t, 9897*time.Millisecond, lease.Remaining())
				assert.Equal(t, time.Now().Add(lease.Remaining()), lease.Until())

				start = time.Now()
				require.NoError(t, lease.Unlock(t.Context()))
				assert.Equal(t, time.Millisecond, time.Since(start))
				synctest.Wait()
				assert.Empty(t, w.holders(t, "k"))
				for _, node := range w.nodes {
					assert.Zero(t, node.count("confirm"))
				}
			})
		})
	}
}

func TestTokensGrowWithEveryHolder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		other := w.another(t, redlock.Options{})
		var last uint64
		for i := range 20 {
			l := []*redlock.Locker{w.locker, other}[i%2]
			lease, err := l.Lock(t.Context(), "k")
			require.NoError(t, err)
			require.Greater(t, lease.Token(), last)
			last = lease.Token()
			require.NoError(t, lease.Unlock(t.Context()))
		}
	})
}

// Nodes whose counters differ agree in a second trip.
func TestTokenIsConfirmedWhenFencesDiffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		ahead := uint64(time.Now().Add(time.Hour).UnixMicro())
		for i, n := range w.nodes {
			// As if other clients' hints had carried the counters apart.
			v, err := n.Node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: "0", TTL: time.Second, Hint: ahead + uint64(i)})
			require.NoError(t, err)
			require.True(t, v.Granted)
			require.NoError(t, n.Node.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: "0"}))
		}
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.Greater(t, lease.Token(), ahead+1)
		stored := 0
		for _, n := range w.nodes {
			state, err := n.Node.Inspect(t.Context(), "k")
			require.NoError(t, err)
			if state.Counter >= lease.Token() {
				stored++
			}
		}
		assert.GreaterOrEqual(t, stored, 2)
	})
}

func TestLockWaitsUntilTheHolderUnlocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		first, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Minute)
			assert.NoError(t, first.Unlock(t.Context()))
		}()
		start := time.Now()
		second, err := w.another(t, redlock.Options{}).Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.Less(t, time.Since(start), time.Minute+time.Second)
		assert.Greater(t, second.Token(), first.Token())
		require.NoError(t, second.Unlock(t.Context()))
	})
}

// A dead holder's key is taken soon after its TTL, not a backoff later.
func TestLockWakesWhenTheHoldersTimeIsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		for _, n := range w.nodes {
			_, err := n.Node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: "dead", TTL: 700 * time.Millisecond})
			require.NoError(t, err)
		}
		start := time.Now()
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.Less(t, time.Since(start), 710*time.Millisecond)
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

// The context bounds the waiting. The error says so, and says why it waited.
func TestLockEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		held, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.locker.Lock(ctx, "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, redlock.ErrNoQuorum)
		synctest.Wait()
		assert.Len(t, w.holders(t, "k"), 3)
		require.NoError(t, held.Err())
	})
}

func TestLeaseIsRenewedForAsLongAsItIsHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, lease.Err())
		assert.Greater(t, lease.Remaining(), 6*time.Second)
		// Every TTL/3, by an absolute schedule.
		assert.InDelta(t, 3600/(10.0/3), w.nodes[0].count("extend"), 2)
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

// A restarted node, one that was away, one that missed the first round: renewal
// brings them back in, so that the lease survives the loss of the others later.
func TestRenewalHealsALease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		w.nodes[2].freeze(true)
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		w.nodes[2].freeze(false)
		time.Sleep(10 * time.Second)
		require.Equal(t, lease.Owner(), w.nodes[2].holder(t, "k"))
		w.nodes[0].freeze(true)
		time.Sleep(time.Minute)
		require.NoError(t, lease.Err())
		w.nodes[0].freeze(false)
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

// A lease that was won with a node away does not wait for its first renewal to have
// one to spare.
func TestALeaseWithNoGrantToSpareHealsSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		w.nodes[2].freeze(true)
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		w.nodes[2].freeze(false)
		time.Sleep(time.Second)
		require.Equal(t, lease.Owner(), w.nodes[2].holder(t, "k"))
		require.Equal(t, 2, w.nodes[2].count("acquire"))
		w.nodes[0].Restart()
		time.Sleep(time.Minute)
		require.NoError(t, lease.Err())
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

func TestMaxHoldEndsALease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{MaxHold: time.Minute, MaxTTL: time.Hour})
		start := time.Now()
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.ErrorContains(t, lease.Extend(t.Context(), 2*time.Minute), "MaxHold")
		<-lease.Done()
		assert.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, lease.Err(), redlock.ErrLost)
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		assert.Empty(t, w.holders(t, "k"), "a hung worker's key is freed at once")
	})
}

func TestExtendMakesALeaseLonger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{TTL: time.Second, MaxTTL: time.Minute, NoRenew: true})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Extend(t.Context(), 30*time.Second))
		assert.Greater(t, lease.Remaining(), 29*time.Second)
		require.NoError(t, lease.Extend(t.Context(), time.Second), "what lasts longer already is left alone")
		assert.Greater(t, lease.Remaining(), 29*time.Second)
		require.NoError(t, lease.Extend(t.Context(), 0), "zero is the lock's TTL")

		require.ErrorContains(t, lease.Extend(t.Context(), 2*time.Minute), "above MaxTTL")
		require.ErrorContains(t, lease.Extend(t.Context(), -time.Second), "leaves no validity")
		require.ErrorContains(t, lease.Extend(t.Context(), time.Millisecond), "leaves no validity")

		time.Sleep(20 * time.Second)
		require.NoError(t, lease.Err())
		require.NoError(t, lease.Unlock(t.Context()))
		require.ErrorIs(t, lease.Extend(t.Context(), time.Second), redlock.ErrReleased)
	})
}

// An extend without a majority tells, and the lease keeps what it had.
func TestFailedExtendKeepsTheOldValidity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{NoRenew: true})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.Sleep(time.Second)
		before := lease.Remaining()
		w.nodes[0].freeze(true)
		w.nodes[1].freeze(true)
		start := time.Now()
		err = lease.Extend(t.Context(), 0)
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "a node's timeout is not the caller's")
		assert.Equal(t, 250*time.Millisecond, time.Since(start))
		assert.Equal(t, before-250*time.Millisecond, lease.Remaining())
		require.NoError(t, lease.Err())
	})
}

func TestUnlockTwice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))
		require.NoError(t, lease.Unlock(t.Context()))
		require.ErrorIs(t, lease.Err(), redlock.ErrReleased)
		require.ErrorIs(t, context.Cause(lease.Context()), redlock.ErrReleased)
		assert.LessOrEqual(t, lease.Remaining(), time.Duration(0))
		assert.False(t, lease.Until().After(time.Now()))
	})
}

// Whoever extends again and again, and gives up each time before the nodes can have
// answered, has them extend it all the same.
func TestExtendGivenUpTooSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		for _, n := range w.nodes {
			n.set(func(n *testNode) { n.there = 100 * time.Millisecond })
		}
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_ = lease.Extend(ctx, 0)
			cancel()
		}
		require.NoError(t, lease.Err())
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

// Unlock that too few nodes confirm says so, within about a node timeout.
func TestUnlockWithoutQuorum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, n := range w.nodes[:2] {
			n.freeze(true)
		}
		start := time.Now()
		require.ErrorIs(t, lease.Unlock(t.Context()), redlock.ErrNoQuorum)
		assert.Equal(t, 250*time.Millisecond, time.Since(start))
		// It goes on trying in the background.
		for _, n := range w.nodes[:2] {
			n.freeze(false)
		}
		time.Sleep(time.Second)
		assert.Empty(t, w.holders(t, "k"))
	})
}

func TestDo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type ctxKey struct{}
		w := newWorld(t, 3, redlock.Options{})
		mine := errors.New("mine")
		ctx := context.WithValue(t.Context(), ctxKey{}, "value")
		err := w.locker.Do(ctx, "k", func(ctx context.Context, lease *redlock.Lease) error {
			assert.NotZero(t, lease.Token())
			assert.Equal(t, "value", ctx.Value(ctxKey{}))
			assert.Equal(t, "value", lease.Context().Value(ctxKey{}))
			return mine
		})
		require.Equal(t, mine, err)
		synctest.Wait()
		assert.Empty(t, w.holders(t, "k"))

		assert.PanicsWithValue(t, "oh", func() {
			_ = w.locker.Do(t.Context(), "k", func(context.Context, *redlock.Lease) error { panic("oh") })
		})
		synctest.Wait()
		assert.Empty(t, w.holders(t, "k"), "a panic releases the lock")

		cancelled, cancel := context.WithCancel(t.Context())
		err = w.locker.Do(cancelled, "k", func(ctx context.Context, lease *redlock.Lease) error {
			cancel()
			<-ctx.Done()
			return lease.Err()
		})
		require.NoError(t, err, "the caller's cancellation reaches fn and is no loss of the lease")
	})
}

// fn hears of a loss through its context, and the caller through Do's error,
// even if fn thinks that all went well.
func TestDoTellsOfALoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		err := w.locker.Do(t.Context(), "k", func(ctx context.Context, _ *redlock.Lease) error {
			for _, n := range w.nodes {
				n.freeze(true)
			}
			<-ctx.Done()
			assert.ErrorIs(t, context.Cause(ctx), redlock.ErrLost)
			return nil
		})
		require.ErrorIs(t, err, redlock.ErrLost)
	})
}

// A lease that Close ends while its user works is no success: others may have had
// the key since.
func TestDoTellsOfAClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		mine := errors.New("mine")
		err := w.locker.Do(t.Context(), "k", func(ctx context.Context, _ *redlock.Lease) error {
			assert.NoError(t, w.locker.Close(t.Context()))
			<-ctx.Done()
			assert.ErrorIs(t, context.Cause(ctx), redlock.ErrClosed)
			return mine
		})
		require.ErrorIs(t, err, redlock.ErrClosed)
		require.ErrorIs(t, err, mine)
	})
}

// What was unlocked before Close is not told of it, whenever one asks.
func TestUnlockBeforeClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))
		require.NoError(t, w.locker.Close(t.Context()))
		require.NoError(t, lease.Unlock(t.Context()))
		require.ErrorIs(t, lease.Err(), redlock.ErrReleased)
	})
}

func TestWithSetsTheOptionsOfSingleLocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{MaxTTL: time.Minute})
		lease, err := w.locker.With(redlock.LockOptions{TTL: time.Minute, NoRenew: true}).Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.Greater(t, lease.Remaining(), 59*time.Second)
		time.Sleep(time.Minute)
		require.ErrorIs(t, lease.Err(), redlock.ErrLost)

		// What is derived from the TTL follows it.
		lease, err = w.locker.With(redlock.LockOptions{TTL: 200 * time.Millisecond}).TryLock(t.Context(), "k")
		require.NoError(t, err)
		assert.Less(t, lease.Remaining(), 200*time.Millisecond)
		require.NoError(t, lease.Unlock(t.Context()))

		// So does the least validity, as MaxHold does.
		lease, err = w.locker.With(redlock.LockOptions{MaxHold: time.Second}).TryLock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))

		for _, o := range []redlock.LockOptions{{TTL: 2 * time.Minute}, {TTL: -1}, {MinValidity: 11 * time.Second}, {TTL: time.Microsecond}, {MaxHold: 300 * time.Millisecond}} {
			_, err = w.locker.With(o).With(redlock.LockOptions{}).Lock(t.Context(), "k")
			require.Error(t, err, "%+v", o)
		}
		assert.Equal(t, 3, w.nodes[0].count("acquire"), "what is refused asks no node")
	})
}

func TestBadInputAsksNoNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		dead, cancel := context.WithCancelCause(t.Context())
		mine := errors.New("mine")
		cancel(mine)
		calls := []struct {
			name string
			key  string
			ctx  context.Context
			is   error
		}{
			{"empty key", "", t.Context(), nil},
			{"long key", strings.Repeat("k", redlock.MaxKeyLength+1), t.Context(), nil},
			{"dead context", "k", dead, context.Canceled},
			{"dead context's cause", "k", dead, mine},
		}
		for _, c := range calls {
			_, err := w.locker.Lock(c.ctx, c.key)
			require.Error(t, err, c.name)
			_, err = w.locker.TryLock(c.ctx, c.key)
			require.Error(t, err, c.name)
			_, err = w.locker.Inspect(c.ctx, c.key)
			require.Error(t, err, c.name)
			require.Error(t, w.locker.ForceUnlock(c.ctx, c.key), c.name)
			err = w.locker.Do(c.ctx, c.key, nil)
			require.Error(t, err, c.name)
			if c.is != nil {
				require.ErrorIs(t, err, c.is, c.name)
			}
		}
		assert.Zero(t, w.nodes[0].count("acquire"))
	})
}

// The caller's own cause is in the error, however it is made, and the error is one
// line.
func TestTheCallersCauseIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		_, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, mine := range []error{errors.New("mine"), fmt.Errorf("mine: %w", context.Canceled)} {
			for _, during := range []bool{true, false} {
				ctx, cancel := context.WithCancelCause(t.Context())
				if during {
					time.AfterFunc(time.Second, func() { cancel(mine) })
				} else {
					cancel(mine)
				}
				_, err := w.locker.Lock(ctx, "k")
				require.ErrorIs(t, err, mine)
				require.ErrorIs(t, err, context.Canceled)
				require.NotContains(t, err.Error(), "\n")
			}
		}
	})
}

func TestKeysOfAnyBytesAreDistinct(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		for _, key := range []string{"k", "K", "k ", " k", "k\x00", "\xff\xfe", "ключ", "{k}", "a/b", strings.Repeat("k", redlock.MaxKeyLength)} {
			lease, err := w.locker.TryLock(t.Context(), key)
			require.NoError(t, err, "%q", key)
			assert.Equal(t, key, lease.Key())
		}
	})
}

func TestInspect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		w.nodes[1].SetDown(errors.New("no route"))
		states, err := w.locker.Inspect(t.Context(), "k")
		require.NoError(t, err)
		require.Len(t, states, 3)
		assert.Equal(t, lease.Owner(), states[0].Owner)
		assert.True(t, states[2].Held)
		assert.Equal(t, w.nodes[1].Name(), states[1].Node)
		assert.ErrorContains(t, states[1].Err, "no route")

		w.nodes[2].SetDown(errors.New("no route"))
		states, err = w.locker.Inspect(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		require.Len(t, states, 3, "what is known is told all the same")
	})
}

// The holder of a key that was taken from it hears of it by its next renewal,
// and its renewal does not take the key back.
func TestForceUnlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		require.ErrorIs(t, w.locker.ForceUnlock(t.Context(), "k"), redlock.ErrNotHeld)
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, w.another(t, redlock.Options{}).ForceUnlock(t.Context(), "k"))
		assert.Empty(t, w.holders(t, "k"))
		start := time.Now()
		<-lease.Done()
		assert.Less(t, time.Since(start), 10*time.Second/3+time.Second)
		require.ErrorIs(t, lease.Err(), redlock.ErrLost)
		assert.Empty(t, w.holders(t, "k"))
	})
}

// After Close nothing of the Locker is left: synctest fails the test if a
// goroutine of the bubble is.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		l := w.another(t, redlock.Options{})
		lease, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		waiting := make(chan error)
		go func() {
			_, err := l.Lock(t.Context(), "k")
			waiting <- err
		}()
		time.Sleep(time.Second)
		w.nodes[0].freeze(true)
		start := time.Now()
		require.NoError(t, l.Close(t.Context()))
		assert.Less(t, time.Since(start), time.Second, "a frozen node is not waited for")
		require.ErrorIs(t, <-waiting, redlock.ErrClosed)
		require.ErrorIs(t, lease.Err(), redlock.ErrClosed)
		require.ErrorIs(t, lease.Unlock(t.Context()), redlock.ErrClosed, "the work may not have been alone")
		require.ErrorIs(t, lease.Extend(t.Context(), 0), redlock.ErrClosed)
		assert.Empty(t, w.nodes[1].holder(t, "k"))
		_, err = l.Lock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrClosed)
		require.NoError(t, l.Close(t.Context()), "twice")
	})
}

// closingClock calls closes before the first look at the time that follows a look at
// the date, which an attempt takes for its hint just before it begins.
type closingClock struct {
	redlock.Clock
	closes func()
	armed  bool
}

func (c *closingClock) Wall() time.Time {
	c.armed = c.closes != nil
	return c.Clock.Wall()
}

func (c *closingClock) Now() time.Duration {
	if c.armed {
		c.armed = false
		c.closes()
	}
	return c.Clock.Now()
}

// An attempt that Close finds before it has asked anybody will never have a verdict.
func TestCloseBeforeAnAttemptBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		clock := &closingClock{Clock: redlock.GoClock()}
		l, err := redlock.New([]redlock.Node{memnode.New(memnode.Options{Clock: redlock.GoClock()})}, redlock.Options{Clock: clock})
		require.NoError(t, err)
		clock.closes = func() {
			clock.closes = nil
			require.NoError(t, l.Close(context.Background()))
		}
		_, err = l.TryLock(context.Background(), "k")
		require.ErrorIs(t, err, redlock.ErrClosed)
		require.Nil(t, clock.closes, "it was closed at that moment")
	})
}

// failingNode is a memory node whose releases fail until a time.
type failingNode struct {
	*memnode.Node
	until time.Time
}

func (n *failingNode) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	if time.Now().Before(n.until) {
		return errors.New("connection refused")
	}
	return n.Node.Release(ctx, req)
}

// A key that stays locked for a TTL after Close must not be passed over in silence;
// and it shall not stay locked for the sake of a blip.
func TestCloseWhereReleasesFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails time.Duration
		left  int
		takes time.Duration
	}{
		{"for a moment", 50 * time.Millisecond, 0, 100 * time.Millisecond},
		{"for ever", time.Hour, 2, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var nodes []redlock.Node
				var failing []*failingNode
				for range 3 {
					n := &failingNode{Node: memnode.New(memnode.Options{Clock: redlock.GoClock()})}
					nodes, failing = append(nodes, n), append(failing, n)
				}
				l, err := redlock.New(nodes, redlock.Options{Clock: redlock.GoClock(), NodeTimeout: 400 * time.Millisecond})
				require.NoError(t, err)
				for _, key := range []string{"a", "b", "unlocked"} {
					lease, err := l.Lock(t.Context(), key)
					require.NoError(t, err)
					if key == "unlocked" {
						require.NoError(t, lease.Unlock(t.Context()))
					}
				}
				synctest.Wait()
				start := time.Now()
				for _, n := range failing[1:] {
					n.until = start.Add(c.fails)
				}
				for range 2 {
					err = l.Close(t.Context())
					if c.left == 0 {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, redlock.ErrNoQuorum)
						require.ErrorContains(t, err, "2 leases are not known to be released by a majority")
					}
				}
				assert.Equal(t, c.takes, time.Since(start))
				for _, n := range failing[1:] {
					state, err := n.Inspect(t.Context(), "a")
					require.NoError(t, err)
					assert.Equal(t, c.left > 0, state.Owner != "")
				}
			})
		})
	}
}

func TestCloseWithoutAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		l, err := redlock.New([]redlock.Node{w.nodes[0], w.nodes[1], w.nodes[2]}, redlock.Options{Clock: redlock.GoClock()})
		require.NoError(t, err)
		lease, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, n := range w.nodes[1:] {
			n.freeze(true)
		}
		start := time.Now()
		require.ErrorIs(t, l.Close(t.Context()), redlock.ErrNoQuorum)
		assert.Equal(t, 250*time.Millisecond, time.Since(start))
		require.ErrorIs(t, lease.Unlock(t.Context()), redlock.ErrClosed)
	})
}

func TestCloseEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		l := w.another(t, redlock.Options{})
		_, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		w.nodes[0].freeze(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, l.Close(ctx), context.DeadlineExceeded)
	})
}

// Inspect and ForceUnlock are the Locker's work as well: Close waits for them, and
// none begins after it.
func TestCloseEndsInspecting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		_, err := w.another(t, redlock.Options{}).Lock(t.Context(), "k")
		require.NoError(t, err)
		for _, n := range w.nodes {
			n.Hang(true)
		}
		ended := make(chan error, 2)
		go func() {
			_, err := w.locker.Inspect(t.Context(), "k")
			ended <- err
		}()
		go func() { ended <- w.locker.ForceUnlock(t.Context(), "k") }()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, w.locker.Close(t.Context()))
		assert.Equal(t, 250*time.Millisecond, time.Since(start))
		require.ErrorIs(t, <-ended, redlock.ErrNoQuorum)
		require.ErrorIs(t, <-ended, redlock.ErrNoQuorum)

		for _, n := range w.nodes {
			n.Hang(false)
		}
		_, err = w.locker.Inspect(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrClosed)
		require.ErrorIs(t, w.locker.ForceUnlock(t.Context(), "k"), redlock.ErrClosed)
		assert.Len(t, w.holders(t, "k"), 3)
	})
}

// Nobody holds twice, whatever the luck of the scheduler.
func TestManyGoroutinesOnOneKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5, redlock.Options{})
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			holding bool
			last    uint64
		)
		for range 30 {
			wg.Go(func() {
				for range 3 {
					err := w.locker.Do(t.Context(), "k", func(_ context.Context, lease *redlock.Lease) error {
						mu.Lock()
						assert.False(t, holding)
						assert.Greater(t, lease.Token(), last)
						holding, last = true, lease.Token()
						mu.Unlock()
						time.Sleep(time.Millisecond)
						mu.Lock()
						holding = false
						mu.Unlock()
						return nil
					})
					assert.NoError(t, err)
				}
			})
		}
		wg.Wait()
	})
}

// Two nodes that are one server vote once.
func TestAliasedNodesVoteOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		one := memnode.New(memnode.Options{Clock: redlock.GoClock()})
		nodes := []redlock.Node{renamed{one, "a"}, renamed{one, "b"}, memnode.New(memnode.Options{Clock: redlock.GoClock()})}
		nodes[2].(*memnode.Node).SetDown(errors.New("down"))
		l, err := redlock.New(nodes, redlock.Options{Clock: redlock.GoClock()})
		require.NoError(t, err)
		defer l.Close(context.Background()) //nolint:errcheck // a bubble has no leaks
		_, err = l.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		require.ErrorContains(t, err, "is the same server as node")
	})
}

type renamed struct {
	redlock.Node
	name string
}

func (n renamed) Name() string { return n.name }

// A node that lost its memory does not vote until what it forgot has expired;
// Lock waits for it, TryLock does not.
func TestRestartedNodesDoNotVote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		w.nodes[0].Restart()
		w.nodes[1].Restart()
		_, err := w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
		require.ErrorContains(t, err, "may have lost locks: votes in")
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		assert.Empty(t, w.holders(t, "k"), "its vote is given back")
		start := time.Now()
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.InDelta(t, 10, time.Since(start).Seconds(), 1)
		require.NoError(t, lease.Unlock(t.Context()))
	})
}

// However many goroutines want locks, only so many attempts ask the nodes at
// once; the others wait without their clocks running, and can be called off.
func TestAttemptsWaitTheirTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{Attempts: 2})
		for _, n := range w.nodes {
			n.set(func(n *testNode) { n.there = 100 * time.Millisecond })
		}
		var locks sync.WaitGroup
		start := time.Now()
		for i := range 6 {
			locks.Go(func() {
				lease, err := w.locker.Lock(t.Context(), fmt.Sprint(i))
				if assert.NoError(t, err) {
					assert.Equal(t, 9797*time.Millisecond+500*time.Microsecond, lease.Remaining())
				}
			})
		}
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := w.locker.Lock(ctx, "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 2, w.nodes[0].count("acquire"))
		locks.Wait()
		assert.InDelta(t, 300, time.Since(start).Milliseconds(), 2)
	})
}

// A node that answers nonsense has not voted; the others carry on without it,
// and its nonsense does not get into the tokens.
func TestNonsenseIsNoVote(t *testing.T) {
	bubble(t, func(t *testing.T) {
		mem := memnode.NewN(3, memnode.Options{Clock: redlock.GoClock()})
		for _, nonsense := range []redlock.Vote{
			{Granted: true},
			{Granted: true, Fence: 1 << 60},
			{Granted: true, Fence: 1, Counter: 1 << 63, Age: -time.Hour, Clock: time.Unix(0, -1), Remaining: -time.Hour},
			{Holder: "nobody", Counter: 1<<64 - 1, Remaining: -time.Hour},
		} {
			l, err := redlock.New([]redlock.Node{garbler{mem[0], nonsense}, mem[1], mem[2]}, redlock.Options{Clock: redlock.GoClock()})
			require.NoError(t, err)
			lease, err := l.Lock(t.Context(), "k")
			require.NoError(t, err, "%+v", nonsense)
			assert.Less(t, lease.Token(), uint64(time.Now().Add(redlock.HintHorizon+time.Hour).UnixMicro()))
			time.Sleep(time.Minute)
			require.NoError(t, lease.Err())
			require.NoError(t, lease.Unlock(t.Context()))
			require.NoError(t, l.Close(t.Context()))
		}
	})
}

type garbler struct {
	redlock.Node
	vote redlock.Vote
}

func (g garbler) Acquire(context.Context, redlock.AcquireRequest) (redlock.Vote, error) {
	return g.vote, nil
}

func (g garbler) Extend(context.Context, redlock.ExtendRequest) (redlock.Vote, error) {
	return g.vote, nil
}
