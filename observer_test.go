package redlock_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// Metrics can be made of the events: each vote, how long a lock was waited for
// and held.
func TestObserverSeesALeasesLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		lease, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		_, err = w.locker.TryLock(t.Context(), "k")
		require.ErrorIs(t, err, redlock.ErrNotAcquired)
		time.Sleep(4 * time.Second)
		require.NoError(t, lease.Unlock(t.Context()))
		synctest.Wait()

		acquired := w.events.of(redlock.EventAcquired)
		require.Len(t, acquired, 1)
		assert.Equal(t, time.Millisecond, acquired[0].Latency)
		assert.Equal(t, lease.Token(), acquired[0].Token)
		assert.Equal(t, lease.Owner(), acquired[0].Owner)

		rounds := w.events.of(redlock.EventRound)
		require.Len(t, rounds, 2)
		assert.NoError(t, rounds[0].Err)
		assert.Equal(t, time.Millisecond, rounds[0].Latency)
		require.ErrorIs(t, rounds[1].Err, redlock.ErrNotAcquired)

		require.NotEmpty(t, w.events.of(redlock.EventRenewed))
		released := w.events.of(redlock.EventReleased)
		require.Len(t, released, 1)
		assert.InDelta(t, 4, released[0].Held.Seconds(), 0.1)
		assert.Equal(t, time.Millisecond, released[0].Latency)

		votes := map[string]int{}
		for _, e := range w.events.of(redlock.EventVote) {
			assert.Equal(t, "k", e.Key)
			assert.NotEmpty(t, e.Node)
			assert.Equal(t, time.Millisecond, e.Latency)
			votes[e.Op+" "+e.Outcome.String()]++
		}
		// The round that was lost gave nothing back: all refused.
		assert.Equal(t, map[string]int{"acquire granted": 3, "acquire refused": 3, "extend granted": 3, "release granted": 3}, votes)
	})
}

// An observer may keep the errors that it is told of: they do not change under it
// when the caller gives up. The chaos soak found that they did.
func TestObservedErrorsStayAsTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		_, err := w.locker.Lock(t.Context(), "k")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.another(t, redlock.Options{Observer: w.events}).Lock(ctx, "k")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		waits := w.events.of(redlock.EventWaiting)
		require.NotEmpty(t, waits)
		for _, e := range waits {
			require.ErrorIs(t, e.Err, redlock.ErrNotAcquired)
			assert.NotErrorIs(t, e.Err, context.DeadlineExceeded)
		}
	})
}

// An observer may read the leases that it is told of, from wherever it is called,
// and use the Locker from a goroutine of its own.
func TestObserverMayCallBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3, redlock.Options{})
		var l *redlock.Locker
		var held atomic.Pointer[redlock.Lease]
		lost := make(chan error, 1)
		opts := redlock.Options{Clock: redlock.GoClock(), Observer: observe(func(e redlock.Event) {
			lease := held.Load()
			if lease == nil {
				return
			}
			assert.NotZero(t, lease.Token())
			switch e.Kind {
			case redlock.EventRenewed:
				assert.NoError(t, lease.Err())
				assert.Equal(t, e.Remaining, lease.Remaining())
			case redlock.EventLost:
				assert.ErrorIs(t, lease.Err(), redlock.ErrLost)
				go func() {
					_, err := l.TryLock(context.Background(), "other")
					lost <- err
				}()
			}
		})}
		l, err := redlock.New([]redlock.Node{w.nodes[0], w.nodes[1], w.nodes[2]}, opts)
		require.NoError(t, err)
		lease, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		held.Store(lease)
		time.Sleep(time.Minute)
		require.NoError(t, w.another(t, redlock.Options{}).ForceUnlock(t.Context(), "k"))
		require.NoError(t, <-lost)
		require.NoError(t, l.Close(t.Context()))
	})
}

// Events of a lease carry the values of whoever has it, also where it was passed on
// from one caller to the next.
func TestEventsCarryTheValuesOfTheHolder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type ctxKey struct{}
		type told struct {
			who  any
			kind redlock.EventKind
		}
		var mu sync.Mutex
		of := map[uint64][]told{} // by token
		var votes []any
		w := newWorld(t, 3, redlock.Options{})
		l := w.another(t, redlock.Options{Observer: observeAs(func(ctx context.Context, e redlock.Event) {
			mu.Lock()
			defer mu.Unlock()
			who := ctx.Value(ctxKey{})
			switch e.Kind {
			case redlock.EventVote:
				if e.Op == "extend" {
					votes = append(votes, who)
				}
			case redlock.EventAcquired, redlock.EventReleased, redlock.EventLost:
				of[e.Token] = append(of[e.Token], told{who, e.Kind})
			}
		})})
		leases := make(chan *redlock.Lease)
		for i := range 4 {
			go func() {
				lease, err := l.Lock(context.WithValue(t.Context(), ctxKey{}, i), "k")
				assert.NoError(t, err)
				leases <- lease
			}()
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		owners := map[string]int{}
		for i := range 4 {
			lease := <-leases
			owners[lease.Owner()]++
			last := redlock.EventReleased
			if i == 3 {
				time.Sleep(4 * time.Second) // it is renewed
				synctest.Wait()
				mu.Lock()
				assert.Equal(t, []any{3, 3, 3}, votes)
				mu.Unlock()
				require.NoError(t, w.another(t, redlock.Options{}).ForceUnlock(t.Context(), "k"))
				<-lease.Done()
				last = redlock.EventLost
			} else {
				require.NoError(t, lease.Unlock(t.Context()))
			}
			synctest.Wait()
			mu.Lock()
			assert.Equal(t, []told{{i, redlock.EventAcquired}, {i, last}}, of[lease.Token()])
			mu.Unlock()
		}
		assert.Len(t, owners, 2, "the second lease was passed on to the third and the fourth")
	})
}

// What is counted as acquired is counted as released or lost, and nothing else is:
// a lease that was won and given up before anybody had it was no lease.
func TestEveryReleaseWasAcquired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		open := map[uint64]bool{}
		given := 0
		w := newWorld(t, 3, redlock.Options{})
		l := w.another(t, redlock.Options{Observer: observe(func(e redlock.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case redlock.EventAcquired:
				open[e.Token] = true
			case redlock.EventReleased, redlock.EventLost:
				if !assert.True(t, open[e.Token], "%v of a lease that nobody had", e.Kind) {
					return
				}
				delete(open, e.Token)
			}
		})})
		use := func(ctx context.Context) {
			if lease, err := l.Lock(ctx, "k"); err == nil {
				assert.NoError(t, lease.Unlock(t.Context()))
				mu.Lock()
				given++
				mu.Unlock()
			}
		}
		for range 100 {
			// The context ends at the very moment at which the lock is won.
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			use(ctx)
			cancel()

			// Or as the lease is passed on.
			ctx, cancel = context.WithCancel(t.Context())
			first, err := l.Lock(t.Context(), "k")
			require.NoError(t, err)
			second := make(chan *redlock.Lease)
			var users sync.WaitGroup
			users.Go(func() {
				lease, err := l.Lock(t.Context(), "k")
				assert.NoError(t, err)
				second <- lease
			})
			synctest.Wait()
			for range 3 {
				users.Go(func() { use(ctx) })
			}
			synctest.Wait()
			require.NoError(t, first.Unlock(t.Context()))
			lease := <-second
			go cancel()
			require.NoError(t, lease.Unlock(t.Context()))
			users.Wait()
		}
		synctest.Wait()
		assert.NotZero(t, given)
		assert.Empty(t, open)
	})
}

type observeAs func(context.Context, redlock.Event)

func (f observeAs) Observe(ctx context.Context, e redlock.Event) { f(ctx, e) }

type observe func(redlock.Event)

func (f observe) Observe(_ context.Context, e redlock.Event) { f(e) }

func TestLogObserver(t *testing.T) {
	var b bytes.Buffer
	log := redlock.LogObserver(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	for _, e := range []redlock.Event{
		{Kind: redlock.EventVote, Key: "k", Owner: "o", Op: "acquire", Node: "n", Outcome: redlock.Granted, Latency: time.Millisecond},
		{Kind: redlock.EventVote, Key: "k", Owner: "o", Op: "extend", Node: "n", Outcome: redlock.Unknown, Err: errors.New("down")},
		{Kind: redlock.EventAcquired, Key: "k", Owner: "o", Token: 7, Remaining: time.Second},
		{Kind: redlock.EventReleased, Key: "k", Owner: "o", Token: 7, Held: time.Minute},
		{Kind: redlock.EventReleased, Key: "k", Owner: "o", Token: 7, Err: redlock.ErrNoQuorum},
		{Kind: redlock.EventLost, Key: "k", Owner: "o", Token: 7, Err: redlock.ErrLost},
		{Kind: redlock.EventWaiting, Key: "k", Err: redlock.ErrNotAcquired},
	} {
		log.Observe(t.Context(), e)
	}
	assert.Equal(t, `level=DEBUG msg="redlock: vote" key=k owner=o op=acquire node=n outcome=granted latency=1ms
level=WARN msg="redlock: vote" key=k owner=o op=extend node=n outcome=unknown error=down
level=INFO msg="redlock: acquired" key=k owner=o token=7 remaining=1s
level=INFO msg="redlock: released" key=k owner=o token=7 held=1m0s
level=WARN msg="redlock: released" key=k owner=o token=7 error="no quorum"
level=ERROR msg="redlock: lost" key=k owner=o token=7 error="lease lost"
level=DEBUG msg="redlock: waiting" key=k error="not acquired"
`, b.String())
}

// When Close has returned the observer is told nothing more, and may go away.
func TestObserverIsLeftAloneAfterClose(t *testing.T) {
	for range 200 {
		var closed atomic.Bool
		nodes := memnode.NewN(5, memnode.Options{})
		l, err := redlock.New(nodes, redlock.Options{Observer: observe(func(e redlock.Event) {
			runtime.Gosched()
			if closed.Load() {
				t.Errorf("%v after Close", e.Kind)
			}
		})})
		require.NoError(t, err)
		lease, err := l.Lock(t.Context(), "k")
		require.NoError(t, err)
		require.NoError(t, lease.Unlock(t.Context()))
		require.NoError(t, l.Close(t.Context()))
		closed.Store(true)
	}
}
