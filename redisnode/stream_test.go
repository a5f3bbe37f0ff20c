package redisnode_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/protocol"
	"github.com/quorumlock/redlock/internal/server"
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

// Who heard of the release before the grant would have to release once more.
func TestStreamTellsInOrder(t *testing.T) {
	n := node(t, testserver.StartRedis(t).Addr())
	var all sync.WaitGroup
	var mu sync.Mutex
	granted := make(map[string]bool)
	for i := range 500 {
		acquire := redlock.Call{Op: redlock.OpAcquire, Key: fmt.Sprint("k", i), Owner: chance(i), TTL: time.Hour,
			Hint: uint64(time.Now().UnixMicro()), Ordered: true, Timeout: patience}
		release := acquire
		release.Op = redlock.OpRelease
		acquire.Done = func(c *redlock.Call) {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			granted[c.Owner] = true
			if c.Err != nil || !c.Vote.Granted {
				t.Errorf("%s: %+v %v", c.Key, c.Vote, c.Err)
			}
		}
		release.Done = func(c *redlock.Call) {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			if c.Err != nil || !granted[c.Owner] {
				t.Errorf("%s: the release was told first, or failed: %v", c.Key, c.Err)
			}
		}
		all.Add(2)
		n.Submit(&acquire)
		n.Submit(&release)
	}
	all.Wait()
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

// chance is an owner as random as those of Lockers are.
func chance(i int) string { return fmt.Sprintf("%x", md5.Sum([]byte(fmt.Sprint(i)))) }

// A lock that nobody else wants costs the server three plain commands.
func TestPlainCommandsServeFreeKeys(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	n := submitting{node(t, addr)}
	c := client(t, &redis.Options{Addr: addr})
	ctx := within(t, patience)
	fences, at := n.CounterOf("k")
	var fence uint64
	for i := range 10 {
		hint := uint64(time.Now().UnixMicro())
		vote, err := n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(i), TTL: time.Minute, Hint: hint, Ordered: true})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		require.Equal(t, hint, vote.Fence)
		require.Greater(t, vote.Fence, fence)
		require.WithinDuration(t, time.Now(), vote.Clock, patience)
		fence = vote.Fence
		require.EqualValues(t, fence+1, c.BitField(ctx, fences, "GET", "u63", at*8+1).Val()[0])
		_, err = n.call(ctx, redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: chance(i), Hint: hint, Ordered: true})
		require.NoError(t, err)
		require.Zero(t, c.Exists(ctx, "redlock:{k}").Val())
	}
	stats := c.Info(ctx, "commandstats").Val()
	for _, want := range []string{"restore:calls=10,", "bitfield:calls=20,", "hdel:calls=10,"} {
		require.Contains(t, stats, "cmdstat_"+want)
	}
	for _, not := range []string{"multi", "evalsha", "eval", "pexpire"} {
		require.NotContains(t, stats, "cmdstat_"+not+":")
	}
}

// A counter that is ahead of the hint is left alone by the plain commands, and the
// script settles what the fence is.
func TestPlainCommandsFindACounterAhead(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	n := submitting{node(t, addr)}
	c := client(t, &redis.Options{Addr: addr})
	ctx := within(t, patience)
	ahead := uint64(time.Now().Add(time.Hour).UnixMicro())
	fences, at := n.CounterOf("k")
	c.BitField(ctx, fences, "SET", "u54", at*8+10, ahead)
	for i := range 2 {
		hint := uint64(time.Now().UnixMicro())
		vote, err := n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(i), TTL: time.Minute, Hint: hint, Ordered: true})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		require.Equal(t, ahead+uint64(i), vote.Fence)
		require.EqualValues(t, vote.Fence+1, c.BitField(ctx, fences, "GET", "u63", at*8+1).Val()[0])
		require.NoError(t, n.Release(ctx, redlock.ReleaseRequest{Key: "k", Owner: chance(i)}))
	}
}

// The counter is raised a moment after the key was granted. Somebody who releases it by
// force in between, and a third one who gets it then with a smaller hint, must not lead
// to two grants with one fence, or to smaller ones later.
func TestForcedReleaseBetweenPlainCommands(t *testing.T) {
	for _, by := range []string{"hash", "string"} {
		t.Run(by, func(t *testing.T) {
			addr := testserver.StartRedis(t).Addr()
			n := submitting{node(t, addr)}
			c := client(t, &redis.Options{Addr: addr})
			ctx := within(t, patience)
			hint := uint64(time.Now().UnixMicro())
			vote, err := n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(1), TTL: time.Minute, Hint: hint, Ordered: true})
			require.NoError(t, err)
			require.True(t, vote.Granted)
			if by == "string" { // which a waiter makes of it
				vote, err = n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(2), TTL: time.Minute, Hint: hint,
					Place: redlock.Place{Waiter: chance(3), Since: 1, Hold: time.Minute}})
				require.NoError(t, err)
				require.True(t, vote.Queued)
				n.Watch("k", chance(3), func() {})()
			}
			fences, _ := n.CounterOf("k")
			require.NoError(t, c.Del(ctx, fences).Err(), "as it was before the second command")
			release := redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: chance(1)}
			_, err = n.call(ctx, release)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return c.Exists(ctx, "redlock:{k}").Val() == 0 }, patience, time.Millisecond)
			vote, err = n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: chance(4), TTL: time.Minute, Hint: hint - 1000, Ordered: true})
			require.NoError(t, err)
			require.True(t, vote.Granted)
			require.Greater(t, vote.Fence, hint)
		})
	}
}

// Two programs may send the commands of an acquire at the same time; only one of
// them gets the key, and the counter is above no later fence.
func TestPlainCommandsOfTwoProgramsMix(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	nodes := []submitting{{node(t, addr)}, {node(t, addr)}, {node(t, addr)}}
	var mu sync.Mutex
	held, last := "", uint64(0)
	var all sync.WaitGroup
	for p, n := range nodes {
		all.Go(func() {
			ctx := within(t, patience)
			for i := range 500 {
				who, hint := chance(1000*p+i), uint64(time.Now().UnixMicro())
				vote, err := n.call(ctx, redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: who, TTL: time.Minute, Hint: hint, Ordered: true})
				if !assert.NoError(t, err) {
					return
				}
				if vote.Granted {
					mu.Lock()
					assert.Empty(t, held)
					assert.Greater(t, vote.Fence, last)
					assert.GreaterOrEqual(t, vote.Counter, vote.Fence)
					held, last = who, vote.Fence
					mu.Unlock()
					runtime.Gosched()
					mu.Lock()
					held = ""
					mu.Unlock()
				}
				_, err = n.call(ctx, redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: who, Hint: hint, Ordered: true})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	assert.NotZero(t, last)
}

// Whoever waits no longer leaves nothing behind that others would wait for.
func TestGoneWaitersLeaveNothing(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	n := submitting{node(t, addr)}
	c := client(t, &redis.Options{Addr: addr})
	for name, run := range map[string]func(ask, free, stop func()){
		"a place": func(ask, free, stop func()) {
			ask()
			stop()
			free()
		},
		"what was set aside without a call": func(ask, free, stop func()) {
			ask()
			free()
			stop()
		},
		"a place that it hears of too late": func(ask, free, stop func()) {
			stop()
			ask()
			free()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, waiter := within(t, patience), chance(4)
			call := func(op redlock.Op, who int, p redlock.Place) redlock.Vote {
				vote, err := n.call(ctx, redlock.Call{Op: op, Key: name, Owner: chance(who), TTL: time.Hour, Place: p, Ordered: true})
				require.NoError(t, err)
				return vote
			}
			require.True(t, call(redlock.OpAcquire, 1, redlock.Place{}).Granted)
			stop := n.Watch(name, waiter, func() {})
			run(func() {
				vote := call(redlock.OpAcquire, 2, redlock.Place{Waiter: waiter, Since: 1, Hold: time.Hour})
				require.True(t, vote.Queued)
			}, func() { call(redlock.OpRelease, 1, redlock.Place{}) }, stop)
			require.Eventually(t, func() bool { return call(redlock.OpAcquire, 3, redlock.Place{}).Granted }, patience, time.Millisecond)
			require.Zero(t, c.Exists(ctx, "redlock:{"+name+"}:queue").Val())
		})
	}
}

// Two attempts may have the same hint, and one of them be released where the other
// has the key, which must stay as it is.
func TestAReleaseWithAnothersHint(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	n, ctx := submitting{node(t, addr)}, within(t, patience)
	hint := uint64(time.Now().UnixMicro())
	call := func(op redlock.Op, who int) redlock.Vote {
		vote, err := n.call(ctx, redlock.Call{Op: op, Key: "k", Owner: chance(who), TTL: time.Minute, Hint: hint, Ordered: true})
		require.NoError(t, err)
		return vote
	}
	require.True(t, call(redlock.OpAcquire, 1).Granted)
	call(redlock.OpRelease, 2)
	refusal := call(redlock.OpAcquire, 3)
	require.False(t, refusal.Granted)
	require.Equal(t, chance(1), refusal.Holder)
	vote, err := n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: chance(1), Fence: hint, TTL: time.Hour})
	require.NoError(t, err)
	require.True(t, vote.Granted)
	call(redlock.OpRelease, 1)
	require.True(t, call(redlock.OpAcquire, 4).Granted)
	// And where a script has to find out.
	call(redlock.OpRelease, 5)
	require.NoError(t, n.Node.Release(ctx, redlock.ReleaseRequest{Key: "k", Owner: chance(4)}))
	require.True(t, call(redlock.OpAcquire, 6).Granted)
}

// What a network or a busy machine keeps back for long says nothing of the server's
// clock: a refusal that shows an old reading must not make the next one a leap.
func TestALateReadingIsNoLeap(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	require.True(t, acquire(t, node(t, addr), "k", 1).Granted)
	proxy := testserver.StartProxy(t, addr)
	n, ctx, clock := submitting{node(t, proxy.Addr())}, within(t, patience), redlock.SystemClock()
	guards := protocol.NewGuards(&protocol.Config{Nodes: 1, Quorum: 1, MaxTTL: time.Minute, DriftPPM: 10_000})
	refused := func(call redlock.Call) {
		call.Op, call.Key, call.Owner, call.TTL = redlock.OpAcquire, "k", chance(2), time.Minute
		sent := clock.Now()
		vote, err := n.call(ctx, call)
		require.NoError(t, err)
		require.False(t, vote.Granted)
		bar, _, _ := guards.Admit(0, protocol.Instant(sent), protocol.Instant(clock.Now()),
			protocol.Facts{Clock: vote.Clock.UnixNano(), ClockBefore: vote.ClockBefore})
		require.Equal(t, protocol.NotBarred, bar, "the clock ran evenly")
	}
	late := server.Harm{Delay: 80 * time.Millisecond}
	proxy.Harm(server.ToClient, late)
	refused(redlock.Call{}) // the connection has been made, and the clock was read
	proxy.Mend(server.ToClient, late)
	refused(redlock.Call{})
	refused(redlock.Call{Ordered: true, Hint: uint64(time.Now().UnixMicro())}) // it is read again
}
