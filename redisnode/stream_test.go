package redisnode_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/redisnode"
)

// submitting makes every call of a node by Submit.
type submitting struct{ *redisnode.Node }

func (n submitting) call(ctx context.Context, c redlock.Call) (redlock.Vote, error) {
	if err := ctx.Err(); err != nil {
		return redlock.Vote{}, err
	}
	done := make(chan *redlock.Call, 2)
	c.Timeout, c.Done = patience, func(c *redlock.Call) { done <- c }
	n.Submit(&c)
	select {
	case got := <-done:
		return got.Vote, got.Err
	case <-ctx.Done():
		return redlock.Vote{}, ctx.Err()
	}
}

func (n submitting) Acquire(ctx context.Context, r redlock.AcquireRequest) (redlock.Vote, error) {
	return n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: r.Key, Owner: r.Owner, TTL: r.TTL, Hint: r.Hint, Place: r.Place})
}

func (n submitting) Confirm(ctx context.Context, r redlock.ConfirmRequest) (redlock.Vote, error) {
	return n.call(ctx, redlock.Call{Op: redlock.OpConfirm, Key: r.Key, Owner: r.Owner, Fence: r.Fence, Token: r.Token})
}

func (n submitting) Extend(ctx context.Context, r redlock.ExtendRequest) (redlock.Vote, error) {
	return n.call(ctx, redlock.Call{Op: redlock.OpExtend, Key: r.Key, Owner: r.Owner, Fence: r.Fence, TTL: r.TTL})
}

func (n submitting) Release(ctx context.Context, r redlock.ReleaseRequest) error {
	_, err := n.call(ctx, redlock.Call{Op: redlock.OpRelease, Key: r.Key, Owner: r.Owner, Wake: true})
	return err
}

func TestStreamConformance(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		m := startMini(t)
		nodetest.Run(t, func(t *testing.T) redlock.Node { return submitting{node(t, m.Addr())} })
	})
	t.Run("redis", func(t *testing.T) {
		s := testserver.StartRedis(t)
		nodetest.Run(t, func(t *testing.T) redlock.Node { return submitting{node(t, s.Addr())} })
	})
	t.Run("proxied redis", func(t *testing.T) {
		s := testserver.StartRedis(t)
		nodetest.Run(t, func(t *testing.T) redlock.Node {
			return submitting{node(t, s.Addr(), func(o *redisnode.Options) { o.Proxied = true })}
		})
	})
}

// A crowd's calls share writes and each gets its own answer; a release submitted
// behind its acquire leaves the key free.
func TestStreamOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n := node(t, addr)
		var all sync.WaitGroup
		for i := range 500 {
			key := fmt.Sprint("k", i)
			all.Add(2)
			n.Submit(&redlock.Call{Op: redlock.OpAcquire, Key: key, Owner: owner(i), TTL: time.Hour, Timeout: patience, Done: func(c *redlock.Call) {
				defer all.Done()
				if c.Err != nil || !c.Vote.Granted {
					t.Errorf("%s: %+v %v", key, c.Vote, c.Err)
				}
			}})
			n.Submit(&redlock.Call{Op: redlock.OpRelease, Key: key, Owner: owner(i), Timeout: patience, Done: func(c *redlock.Call) {
				defer all.Done()
				if c.Err != nil {
					t.Errorf("%s: %v", key, c.Err)
				}
			}})
		}
		all.Wait()
		c := client(t, &redis.Options{Addr: addr})
		for i := range 500 {
			require.Zero(t, c.Exists(t.Context(), fmt.Sprintf("redlock:{k%d}", i)).Val(), "a release was overtaken by its acquire")
		}
	})
}

// A call belongs to its maker again as soon as it is done: the stream, which looks
// at waiting calls now and then, must not look at it any more. The race detector
// tells.
func TestStreamLetsGoOfAnsweredCalls(t *testing.T) {
	n := node(t, startMini(t).Addr())
	done := make(chan struct{})
	n.Submit(&redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: owner(1), TTL: time.Hour, Timeout: patience, Done: func(c *redlock.Call) {
		c.Timeout = 2 * patience
		time.Sleep(100 * time.Millisecond) // the stream looks several times meanwhile
		close(done)
	}})
	<-done
}

// A waiter that was only ever refused must have seen the clocks too, or it could
// not tell a leap just before its turn.
func TestRefusalsShowTheClock(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n := submitting{node(t, addr)}
		holder := acquire(t, n, "k", 1)
		for i := range 5 {
			refusal := acquire(t, n, "k", 2+i)
			require.False(t, refusal.Granted)
			require.WithinDuration(t, holder.Clock, refusal.Clock, patience)
		}
	})
}

// A dead server costs an error at once and heals by itself; calls end once each.
func TestStreamOutlivesItsServer(t *testing.T) {
	s := testserver.StartRedis(t)
	n := submitting{node(t, s.Addr())}
	before := acquire(t, n, "k", 1)
	require.True(t, before.Granted)
	require.Positive(t, before.Age)
	s.Kill()
	require.Error(t, acquireErr(within(t, patience), n))
	s.Restart()
	vote := firstAnswer(t, slowly{n})
	require.True(t, vote.Granted, "the server has lost the lock")
	require.NotEqual(t, before.Incarnation, vote.Incarnation)
	require.Equal(t, runID(t, s.Addr()), vote.Incarnation)
}

// slowly leaves a stream time to connect again between calls.
type slowly struct{ redlock.Node }

func (n slowly) Acquire(ctx context.Context, r redlock.AcquireRequest) (redlock.Vote, error) {
	time.Sleep(20 * time.Millisecond)
	return n.Node.Acquire(ctx, r)
}

// A frozen server must hold nobody up for ever, whether or not it was reached before.
func TestStreamOfAFrozenServer(t *testing.T) {
	s := testserver.StartRedis(t)
	t.Cleanup(s.Cont)
	for _, warm := range []bool{false, true} {
		n := node(t, s.Addr())
		if warm {
			require.True(t, acquire(t, submitting{n}, "w", 1).Granted)
		}
		s.Stop()
		done := make(chan error, 2)
		n.Submit(&redlock.Call{Op: redlock.OpAcquire, Key: "f", Owner: owner(2), TTL: time.Minute, Timeout: 50 * time.Millisecond,
			Done: func(c *redlock.Call) { done <- c.Err }})
		select {
		case err := <-done:
			require.ErrorContains(t, err, "redisnode 127.0.0.1:")
		case <-time.After(patience):
			require.Fail(t, "the call never ends")
		}
		s.Cont()
	}
}

// Close ends each waiting call exactly once and leaves no goroutine.
func TestCloseUnderLoad(t *testing.T) {
	s := testserver.StartRedis(t)
	n := redisnode.New(nil, redisnode.Options{Addr: s.Addr()})
	var begun, ended atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := range 2000 {
				begun.Add(1)
				n.Submit(&redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: owner(i), Timeout: patience,
					Done: func(*redlock.Call) { ended.Add(1) }})
			}
		})
	}
	require.NoError(t, n.Close())
	callers.Wait()
	require.Equal(t, begun.Load(), ended.Load())
}

// A server that forgot the scripts gets them again.
func TestStreamSendsForgottenScripts(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, c := submitting{node(t, addr)}, client(t, &redis.Options{Addr: addr})
		first := acquire(t, n, "k", 1)
		require.NoError(t, c.ScriptFlush(t.Context()).Err())
		require.Equal(t, first.Fence, acquire(t, n, "k", 1).Fence)
		require.NoError(t, c.ScriptFlush(t.Context()).Err())
		release(t, n, "k", 1)
		require.True(t, acquire(t, n, "k", 2).Granted)
	})
}

func BenchmarkSubmit(b *testing.B) {
	for _, flying := range []int{1, 512} {
		b.Run(fmt.Sprint(flying), func(b *testing.B) {
			n := redisnode.New(nil, redisnode.Options{Addr: testserver.StartRedis(b).Addr()})
			defer n.Close()
			free := make(chan *redlock.Call, flying)
			for i := range flying {
				free <- &redlock.Call{Key: fmt.Sprint("k", i), Owner: owner(i), TTL: time.Minute, Timeout: patience, Done: func(c *redlock.Call) { free <- c }}
			}
			b.ReportAllocs()
			for b.Loop() {
				c := <-free
				if c.Err != nil {
					b.Fatal(c.Err)
				}
				c.Op = redlock.OpExtend
				n.Submit(c)
			}
			for range flying {
				<-free
			}
		})
	}
}
