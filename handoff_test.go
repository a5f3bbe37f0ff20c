package redlock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// holdEach has so many goroutines of a Locker hold the key for a while each, in
// the order they are started, and gives the tokens in the order of holding.
func holdEach(t *testing.T, l *redlock.Locker, n int, hold time.Duration) []uint64 {
	t.Helper()
	var mu sync.Mutex
	var order []int
	var tokens []uint64
	var users sync.WaitGroup
	for i := range n {
		users.Go(func() {
			lease, err := l.Lock(t.Context(), "k")
			if !assert.NoError(t, err) {
				return
			}
			mu.Lock()
			order = append(order, i)
			tokens = append(tokens, lease.Token())
			mu.Unlock()
			time.Sleep(hold)
			assert.NoError(t, lease.Err())
			assert.NoError(t, lease.Unlock(t.Context()))
			assert.ErrorIs(t, lease.Err(), redlock.ErrReleased)
			assert.ErrorIs(t, context.Cause(lease.Context()), redlock.ErrReleased)
			assert.LessOrEqual(t, lease.Remaining(), time.Duration(0))
			assert.ErrorIs(t, lease.Extend(t.Context(), 0), redlock.ErrReleased)
			assert.NoError(t, lease.Unlock(t.Context()), "twice")
		})
		synctest.Wait()
	}
	users.Wait()
	assert.IsIncreasing(t, order, "first come, first served")
	assert.IsIncreasing(t, tokens)
	return tokens
}

func TestALeaseIsPassedOnWithinALocker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{LocalHandoffs: 4})
		tokens := holdEach(t, w.locker, 12, time.Millisecond)
		require.Len(t, tokens, 12)
		// The first did not know of the others. Then it is one acquisition for one
		// holder and four who come after, with one more round trip for their tokens.
		assert.Equal(t, 4, w.nodes[0].count("acquire"))
		assert.Equal(t, 3, w.nodes[0].count("confirm"))
		assert.Len(t, w.events.of(redlock.EventAcquired), 12)
		assert.Len(t, w.events.of(redlock.EventReleased), 12)

		other, err := w.another(t, redlock.Options{}).TryLock(t.Context(), "k")
		require.NoError(t, err, "nothing is left locked")
		assert.Greater(t, other.Token(), tokens[11])
		require.NoError(t, other.Unlock(t.Context()))
	})
}

func TestHandoffsCanBeSwitchedOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{LocalHandoffs: -1})
		holdEach(t, w.locker, 5, time.Millisecond)
		assert.Equal(t, 5, w.nodes[0].count("acquire"))
	})
}

// Other processes get their turn however many callers a Locker has.
func TestHandoffsDoNotStarveOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{TTL: time.Second, RetryMax: 10 * time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		for range 20 {
			users.Go(func() {
				for ctx.Err() == nil {
					lease, err := w.locker.Lock(ctx, "k")
					if err != nil {
						return
					}
					time.Sleep(100 * time.Millisecond)
					_ = lease.Unlock(ctx)
				}
			})
		}
		time.Sleep(time.Second)
		other := w.another(t, redlock.Options{TTL: time.Second, RetryMax: 10 * time.Millisecond})
		for range 3 {
			lease, err := other.Lock(t.Context(), "k")
			require.NoError(t, err)
			require.NoError(t, lease.Unlock(t.Context()))
		}
		cancel()
		users.Wait()
	})
}

// Nodes that keep no queues cannot tell a busy Locker of others. It leaves the key
// alone at times, or they would have to hit one round trip of some hundred.
func TestABusyLockerLeavesTheKeyToOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		busy := w.withoutQueues(t, redlock.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var users sync.WaitGroup
		for range 5 {
			users.Go(func() {
				for {
					lease, err := busy.Lock(ctx, "k")
					if err != nil {
						return
					}
					time.Sleep(5 * time.Millisecond)
					_ = lease.Unlock(ctx)
				}
			})
		}
		time.Sleep(time.Second)
		other := w.withoutQueues(t, redlock.Options{})
		start := time.Now()
		for range 10 {
			lease, err := other.Lock(t.Context(), "k")
			require.NoError(t, err)
			require.NoError(t, lease.Unlock(t.Context()))
		}
		assert.Less(t, time.Since(start), 30*time.Second)
		cancel()
		users.Wait()
	})
}

// A caller who runs out of patience in the pause takes none of it along.
func TestGivingUpWhileALockerLeavesTheKeyAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		l := w.withoutQueues(t, redlock.Options{LocalHandoffs: 1, RetryMax: 10 * time.Second})
		var users sync.WaitGroup
		hold := func(ctx context.Context) error {
			lease, err := l.Lock(ctx, "k")
			if err == nil {
				time.Sleep(50 * time.Millisecond)
				err = lease.Unlock(t.Context())
			}
			return err
		}
		for range 3 { // the first knew of no others; the third gets the second's lease
			users.Go(func() { assert.NoError(t, hold(t.Context())) })
			synctest.Wait()
		}
		impatient, cancel := context.WithTimeout(t.Context(), 165*time.Millisecond)
		defer cancel()
		users.Go(func() {
			err := hold(impatient)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, redlock.ErrNotAcquired)
		})
		synctest.Wait()
		start := time.Now()
		lease, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.InDelta(t, 182*time.Millisecond, time.Since(start), float64(8*time.Millisecond))
		require.NoError(t, lease.Unlock(t.Context()))
		users.Wait()
	})
}

// Who extends a lease that another goroutine unlocks meanwhile has not lost it.
func TestExtendOfALeaseThatIsPassedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		leases := make(chan *redlock.Lease)
		first, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		for range 2 {
			go func() {
				lease, err := w.locker.Lock(t.Context(), "k")
				assert.NoError(t, err)
				leases <- lease
			}()
			synctest.Wait()
		}
		require.NoError(t, first.Unlock(t.Context()))
		second := <-leases
		for _, n := range w.nodes {
			n.set(func(n *testNode) { n.there = 20 * time.Millisecond })
		}
		time.AfterFunc(10*time.Millisecond, func() { _ = second.Unlock(context.Background()) })
		err = second.Extend(t.Context(), 0)
		require.ErrorIs(t, err, redlock.ErrReleased)
		require.NotErrorIs(t, err, redlock.ErrLost)
		third := <-leases
		assert.Equal(t, second.Owner(), third.Owner(), "it was passed on")
		require.NoError(t, third.Unlock(t.Context()))
	})
}

// leapingClock goes on by leap after the second look at it from now on.
type leapingClock struct {
	redlock.Clock
	mu    sync.Mutex
	looks int
	leap  time.Duration
}

func (c *leapingClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.Clock.Now()
	if c.leap == 0 {
		return now
	}
	if c.looks++; c.looks > 1 {
		now += c.leap
	}
	return now
}

// A lease that is passed on and comes too late, since the process was paused just
// then, costs its next user no place in the line.
func TestALeaseThatComesTooLateCostsNoPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		clock := &leapingClock{Clock: redlock.GoClock()}
		l, err := redlock.New([]redlock.Node{w.nodes[0], w.nodes[1], w.nodes[2]}, redlock.Options{Clock: clock})
		require.NoError(t, err)
		first, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		type user struct {
			number int
			lease  *redlock.Lease
		}
		users := make(chan user)
		for i := range 3 {
			go func() {
				lease, err := l.Lock(t.Context(), "k")
				assert.NoError(t, err)
				users <- user{i, lease}
			}()
			synctest.Wait()
		}
		require.NoError(t, first.Unlock(t.Context()))
		has := <-users
		require.Equal(t, 0, has.number)
		// Its unlock passes the lease on by the first look at the clock.
		clock.mu.Lock()
		clock.leap = 5500 * time.Millisecond
		clock.mu.Unlock()
		require.NoError(t, has.lease.Unlock(t.Context()))
		next := <-users
		assert.Equal(t, 1, next.number)
		assert.NotEqual(t, has.lease.Owner(), next.lease.Owner(), "what was passed on came too late")
		require.NoError(t, next.lease.Unlock(t.Context()))
		last := <-users
		assert.Equal(t, 2, last.number)
		require.NoError(t, last.lease.Unlock(t.Context()))
		require.NoError(t, l.Close(t.Context()))
	})
}

// An outage is told to all who wait in a line at about the same time, not to one
// after another, each when it has found out for itself.
func TestAnOutageIsToldToAWholeLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{OutageWait: time.Minute})
		w.down(errors.New("no route"))
		start := time.Now()
		var users sync.WaitGroup
		lock := func(told time.Duration) {
			users.Go(func() {
				_, err := w.locker.Lock(t.Context(), "k")
				assert.ErrorIs(t, err, redlock.ErrNoQuorum)
				assert.InDelta(t, told.Seconds(), time.Since(start).Seconds(), 2)
			})
		}
		for range 24 {
			lock(time.Minute)
		}
		time.Sleep(30 * time.Second)
		lock(90 * time.Second) // who comes later waits for as long as it would have alone
		users.Wait()
	})
}

// An outage that was over when somebody ahead in the line got the lock is not held
// against those behind it, in the next one.
func TestALineForgetsAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{OutageWait: time.Minute, LocalHandoffs: -1})
		w.down(errors.New("no route"))
		var users sync.WaitGroup
		impatient, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		users.Go(func() {
			_, err := w.locker.Lock(impatient, "k")
			assert.ErrorIs(t, err, redlock.ErrNoQuorum)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
		synctest.Wait()
		for range 3 {
			users.Go(func() {
				lease, err := w.locker.Lock(t.Context(), "k")
				if assert.NoError(t, err) {
					time.Sleep(time.Minute)
					_ = lease.Unlock(t.Context()) // nobody confirms it
				}
			})
		}
		time.Sleep(30 * time.Second)
		for range 3 {
			w.down(nil)
			time.Sleep(59 * time.Second)
			w.down(errors.New("no route"))
			time.Sleep(30 * time.Second)
		}
		users.Wait()
	})
}

// Who never asked a node says so, and does not list nodes that it waited for.
func TestWaitingInLineNamesNoNodes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		_, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.locker.Lock(ctx, "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		require.EqualError(t, err, `redlock: lock "k": no node was asked, as callers of this process came first: not acquired: context deadline exceeded`)
		var q *redlock.QuorumError
		require.ErrorAs(t, err, &q)
		assert.Empty(t, q.Votes)
		assert.Equal(t, 2, q.Need)
	})
}

// A caller who gives up takes nothing along, whenever that is.
func TestACallerWhoGivesUpInLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var users sync.WaitGroup
		users.Go(func() {
			_, err := w.locker.Lock(impatient, "k")
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, err, redlock.ErrNotAcquired)
		})
		synctest.Wait()
		users.Go(func() {
			next, err := w.locker.Lock(t.Context(), "k")
			if assert.NoError(t, err) {
				assert.NoError(t, next.Unlock(t.Context()))
			}
		})
		time.Sleep(2 * time.Second)
		require.NoError(t, lease.Unlock(t.Context()))
		users.Wait()
	})
}

// A caller whose context ends in the moment it is told passes the lease on.
func TestGivingUpWhileBeingTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, handoffs := range []int{8, -1} {
			w := newWorld(t, 3, redlock.Options{LocalHandoffs: handoffs})
			for range 50 {
				first, err := w.locker.Lock(t.Context(), "k")
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				var users sync.WaitGroup
				for range 3 {
					users.Go(func() {
						if lease, err := w.locker.Lock(ctx, "k"); err == nil {
							_ = lease.Unlock(t.Context())
						}
					})
				}
				users.Go(func() {
					lease, err := w.locker.Lock(t.Context(), "k")
					if assert.NoError(t, err) {
						assert.NoError(t, lease.Unlock(t.Context()))
					}
				})
				synctest.Wait()
				go cancel()
				go first.Unlock(t.Context()) //nolint:errcheck // told by the next lock
				users.Wait()
			}
		}
	})
}

func TestALossMakesWayForTheNextInLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{TTL: time.Second, NoRenew: true})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		next, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.ErrorIs(t, lease.Err(), redlock.ErrLost)
		assert.ErrorIs(t, lease.Unlock(t.Context()), redlock.ErrLost)
		assert.NoError(t, next.Err())
		require.NoError(t, next.Unlock(t.Context()))
	})
}

func TestCloseEndsALine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		var users sync.WaitGroup
		for range 5 {
			users.Go(func() {
				_, err := w.locker.Lock(t.Context(), "k")
				assert.ErrorIs(t, err, redlock.ErrClosed)
			})
		}
		synctest.Wait()
		require.NoError(t, w.locker.Close(t.Context()))
		users.Wait()
		assert.ErrorIs(t, lease.Err(), redlock.ErrClosed)
	})
}

// A lease is passed on only to who would have got the same.
func TestALeaseIsNotPassedOnToOtherOptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		short := w.locker.With(redlock.LockOptions{TTL: time.Second})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { _ = lease.Unlock(context.Background()) })
		other, err := short.Lock(t.Context(), "k")
		require.NoError(t, err)
		assert.NotEqual(t, lease.Owner(), other.Owner())
		require.NoError(t, other.Unlock(t.Context()))
	})
}
