package redisnode_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// Lua prints numbers with 14 digits and fences have 16: a fence that goes through
// a careless conversion is rounded, and then two holders have the same one.
func TestLargeFencesAreExact(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, ctx := node(t, addr), within(t, patience)
		const large = redlock.MaxFence - 2
		first := acquire(t, n, "k", 1)
		require.True(t, first.Granted)
		vote, err := n.Confirm(ctx, redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: first.Fence, Token: large})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		require.EqualValues(t, large, vote.Counter)
		release(t, n, "k", 1)

		vote = acquire(t, n, "k", 2)
		require.True(t, vote.Granted)
		require.EqualValues(t, large+1, vote.Fence)
		state, err := n.Inspect(ctx, "k")
		require.NoError(t, err)
		require.EqualValues(t, large+1, state.Fence)
		require.EqualValues(t, large+1, state.Counter)
		vote, err = n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(2), Fence: large, TTL: time.Hour})
		require.NoError(t, err)
		require.False(t, vote.Granted, "one off is another grant")
		vote, err = n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(2), Fence: large + 1, TTL: time.Hour})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		release(t, n, "k", 2)

		require.EqualValues(t, uint64(redlock.MaxFence), acquire(t, n, "k", 3).Fence)
		release(t, n, "k", 3)
		_, err = n.Acquire(ctx, redlock.AcquireRequest{Key: "k", Owner: owner(4), TTL: time.Minute})
		require.ErrorContains(t, err, "used up")
		_, err = n.Confirm(ctx, redlock.ConfirmRequest{Key: "k", Owner: owner(4), Fence: 1, Token: redlock.MaxFence + 1})
		require.ErrorContains(t, err, "token")
	})
}

// A client whose clock is years ahead must not use up the fences of everybody.
func TestHintIsCappedByTheServersClock(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, ctx := node(t, addr), within(t, patience)
		for i, hint := range []uint64{redlock.MaxFence, 1<<64 - 1} {
			vote, err := n.Acquire(ctx, redlock.AcquireRequest{Key: owner(i), Owner: owner(1), TTL: time.Minute, Hint: hint})
			require.NoError(t, err)
			require.EqualValues(t, vote.Clock.Add(redlock.HintHorizon).UnixMicro(), vote.Fence)
		}
		hint := uint64(time.Now().Add(time.Hour).UnixMicro())
		vote, err := n.Acquire(ctx, redlock.AcquireRequest{Key: "near", Owner: owner(1), TTL: time.Minute, Hint: hint})
		require.NoError(t, err)
		require.Equal(t, hint, vote.Fence)
	})
}

// An evicted counter must not take the fence of a standing grant back.
func TestStandingFenceCounts(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		fence := acquire(t, n, "k", 1).Fence
		fences, _ := n.CounterOf("k")
		require.NoError(t, c.Del(t.Context(), fences).Err())
		again := acquire(t, n, "k", 1)
		require.Equal(t, fence, again.Counter)
		release(t, n, "k", 1)
		require.Greater(t, acquire(t, n, "k", 2).Fence, fence)
	})
}

// A server forgets its scripts in a restart or a SCRIPT FLUSH. That must not
// fail a lock, nor run anything twice.
func TestForgottenScripts(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		flush := func() { require.NoError(t, c.ScriptFlush(t.Context()).Err()) }
		first := acquire(t, n, "k", 1)
		flush()
		require.Equal(t, first.Fence, acquire(t, n, "k", 1).Fence)
		flush()
		vote, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: first.Fence, TTL: time.Minute})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		flush()
		release(t, n, "k", 1)
		flush()
		require.Equal(t, first.Fence+1, acquire(t, n, "k", 2).Fence)
	})
}
