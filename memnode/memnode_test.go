package memnode_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

func acquire(t *testing.T, n redlock.Node, key, owner string, ttl time.Duration) redlock.Vote {
	t.Helper()
	v, err := n.Acquire(t.Context(), redlock.AcquireRequest{Key: key, Owner: owner, TTL: ttl})
	require.NoError(t, err)
	return v
}

func release(t *testing.T, n redlock.Node, key, owner string) {
	t.Helper()
	require.NoError(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: key, Owner: owner}))
}

// TestNames guards against two nodes that a Locker would take for one.
func TestNames(t *testing.T) {
	names, incarnations := map[string]bool{}, map[string]bool{}
	nodes := append(memnode.NewN(3, memnode.Options{}), memnode.NewN(3, memnode.Options{Name: "x"})...)
	for _, n := range nodes {
		names[n.Name()] = true
		incarnations[acquire(t, n, "key", alice, time.Second).Incarnation] = true
	}
	assert.Len(t, names, 6)
	assert.Len(t, incarnations, 6)
	assert.Contains(t, names, "x-3")

	twins := []redlock.Node{memnode.New(memnode.Options{Name: "y"}), memnode.New(memnode.Options{Name: "y"})}
	assert.NotEqual(t, acquire(t, twins[0], "key", alice, time.Second).Incarnation,
		acquire(t, twins[1], "key", alice, time.Second).Incarnation)
}

func TestBadRequests(t *testing.T) {
	n := memnode.New(memnode.Options{})
	for name, req := range map[string]redlock.AcquireRequest{
		"empty key":    {Owner: alice, TTL: time.Second},
		"long key":     {Key: strings.Repeat("x", redlock.MaxKeyLength+1), Owner: alice, TTL: time.Second},
		"empty owner":  {Key: "key", TTL: time.Second},
		"no TTL":       {Key: "key", Owner: alice},
		"negative TTL": {Key: "key", Owner: alice, TTL: -1},
	} {
		_, err := n.Acquire(t.Context(), req)
		assert.ErrorContains(t, err, "memnode: ", name)
		_, err = n.Extend(t.Context(), redlock.ExtendRequest{Key: req.Key, Owner: req.Owner, TTL: req.TTL})
		assert.ErrorContains(t, err, "memnode: ", name)
	}
	v := acquire(t, n, "key", alice, time.Second)
	_, err := n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "key", Owner: alice, Fence: v.Fence, Token: redlock.MaxFence + 1})
	assert.ErrorContains(t, err, "token")
}

// TestFencesUsedUp: past MaxFence no number is left that is exact everywhere.
func TestFencesUsedUp(t *testing.T) {
	n := memnode.New(memnode.Options{})
	v := acquire(t, n, "key", alice, time.Second)
	_, err := n.Confirm(t.Context(), redlock.ConfirmRequest{Key: "key", Owner: alice, Fence: v.Fence, Token: redlock.MaxFence})
	require.NoError(t, err)
	release(t, n, "key", alice)
	_, err = n.Acquire(t.Context(), redlock.AcquireRequest{Key: "key", Owner: bob, TTL: time.Second})
	assert.ErrorContains(t, err, "used up")
	s, err := n.Inspect(t.Context(), "key")
	require.NoError(t, err)
	assert.False(t, s.Held)
}

// TestEndlessTTL guards against an instant that overflows into the past.
func TestEndlessTTL(t *testing.T) {
	n := memnode.New(memnode.Options{})
	acquire(t, n, "key", alice, math.MaxInt64)
	assert.False(t, acquire(t, n, "key", bob, time.Second).Granted)
}

func TestDown(t *testing.T) {
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock})
	v := acquire(t, n, "key", alice, time.Second)
	refused := errors.New("connection refused")
	n.SetDown(refused)

	ctx := t.Context()
	_, err := n.Acquire(ctx, redlock.AcquireRequest{Key: "other", Owner: alice, TTL: time.Second})
	assert.ErrorIs(t, err, refused)
	_, err = n.Confirm(ctx, redlock.ConfirmRequest{Key: "key", Owner: alice, Fence: v.Fence, Token: v.Fence + 1})
	assert.ErrorIs(t, err, refused)
	_, err = n.Extend(ctx, redlock.ExtendRequest{Key: "key", Owner: alice, Fence: v.Fence, TTL: time.Hour})
	assert.ErrorIs(t, err, refused)
	assert.ErrorIs(t, n.Release(ctx, redlock.ReleaseRequest{Key: "key", Owner: alice}), refused)
	_, err = n.Inspect(ctx, "key")
	assert.ErrorIs(t, err, refused)
	_, err = n.Probe(ctx)
	assert.ErrorIs(t, err, refused)

	n.SetDown(nil)
	s, err := n.Inspect(ctx, "key")
	require.NoError(t, err)
	assert.True(t, s.Held, "a call that failed did nothing")
	assert.Equal(t, v.Fence, s.Counter)
	assert.Equal(t, time.Second, s.Remaining)
	s, err = n.Inspect(ctx, "other")
	require.NoError(t, err)
	assert.Zero(t, s.Counter)
}

// TestHang: a call that outlasts the freeze is handled, one that does not is not.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnode.New(memnode.Options{Clock: redlock.NewManualClock(date)})
		n.Hang(true)
		n.Hang(true)
		given, giveUp := context.WithTimeout(t.Context(), time.Second)
		defer giveUp()
		_, err := n.Acquire(given, redlock.AcquireRequest{Key: "given up", Owner: alice, TTL: time.Hour})
		assert.ErrorIs(t, err, context.DeadlineExceeded)

		votes := make(chan redlock.Vote)
		go func() {
			v, _ := n.Acquire(t.Context(), redlock.AcquireRequest{Key: "waited", Owner: alice, TTL: time.Hour})
			votes <- v
		}()
		synctest.Wait()
		n.Hang(false)
		n.Hang(false)
		assert.True(t, (<-votes).Granted)
		assert.True(t, acquire(t, n, "given up", bob, time.Hour).Granted)
	})
}

// TestHungAndDown: what is frozen cannot refuse.
func TestHungAndDown(t *testing.T) {
	n := memnode.New(memnode.Options{})
	n.SetDown(errors.New("down"))
	n.Hang(true)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err := n.Inspect(ctx, "key")
	assert.ErrorIs(t, err, context.Canceled)
}

func TestRestart(t *testing.T) {
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock})
	before := acquire(t, n, "key", alice, time.Hour)
	release(t, n, "released", alice)
	clock.Advance(time.Minute)
	assert.Zero(t, acquire(t, n, "key", alice, time.Hour).Age)

	n.Restart()
	after := acquire(t, n, "key", bob, time.Hour)
	assert.True(t, after.Granted)
	assert.Equal(t, time.Duration(1), after.Age, "zero would say that nothing was lost")
	assert.NotEqual(t, before.Incarnation, after.Incarnation)
	assert.True(t, acquire(t, n, "released", alice, time.Hour).Granted)

	clock.Advance(time.Minute)
	n.Restart()
	clock.Advance(time.Second)
	info, err := n.Probe(t.Context())
	require.NoError(t, err)
	assert.Equal(t, time.Second, info.Age, "of the last of two restarts")
	assert.False(t, info.Durable)
	assert.NotEqual(t, after.Incarnation, info.Incarnation)
}

func TestRestartOfDurableNode(t *testing.T) {
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock, Durable: true})
	before := acquire(t, n, "key", alice, time.Hour)
	n.Restart()
	clock.Advance(time.Second)
	after := acquire(t, n, "key", bob, time.Hour)
	assert.False(t, after.Granted)
	assert.Zero(t, after.Age)
	assert.Equal(t, before.Incarnation, after.Incarnation)
	info, err := n.Probe(t.Context())
	require.NoError(t, err)
	assert.True(t, info.Durable)
}

// TestSkew: the date is for showing and for the horizon, not for expiry, and a
// jump of the machine's date is none of the node's.
func TestSkew(t *testing.T) {
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock})
	assert.Equal(t, date, acquire(t, n, "key", alice, time.Minute).Clock)
	n.SetSkew(-48 * time.Hour)
	clock.SetWall(date.Add(time.Hour))
	v := acquire(t, n, "key", bob, time.Minute)
	assert.False(t, v.Granted)
	assert.Equal(t, time.Minute, v.Remaining)
	assert.Equal(t, date.Add(-48*time.Hour), v.Clock)

	v, err := n.Acquire(t.Context(), redlock.AcquireRequest{Key: "hinted", Owner: alice, TTL: time.Minute, Hint: uint64(date.UnixMicro())})
	require.NoError(t, err)
	assert.Equal(t, uint64(date.Add(-24*time.Hour).UnixMicro()), v.Fence)
}

func TestTombstoneRetention(t *testing.T) {
	const retention = 10 * time.Second
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock, TombstoneRetention: retention})
	clock.Advance(retention * 3 / 4)
	release(t, n, "key", alice)
	clock.Advance(retention / 2)
	acquire(t, n, "other", bob, time.Second)
	clock.Advance(retention/2 - 1)
	assert.False(t, acquire(t, n, "key", alice, time.Second).Granted, "refused for all of the retention")
	clock.Advance(2 * retention)
	assert.True(t, acquire(t, n, "key", alice, time.Second).Granted)
}

// TestTombstoneRetentionCountsFromLastRelease: of two, the later may be the one
// that the late acquire was sent with.
func TestTombstoneRetentionCountsFromLastRelease(t *testing.T) {
	const retention = 10 * time.Second
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock, TombstoneRetention: retention})
	for range 5 {
		release(t, n, "key", alice)
		clock.Advance(retention - 1)
	}
	assert.False(t, acquire(t, n, "key", alice, time.Second).Granted)
}

func TestFenceRetention(t *testing.T) {
	const retention = time.Hour
	clock := redlock.NewManualClock(date)
	n := memnode.New(memnode.Options{Clock: clock, FenceRetention: retention})
	v := acquire(t, n, "key", alice, 10*time.Hour)
	clock.Advance(9 * time.Hour)
	assert.False(t, acquire(t, n, "key", bob, time.Second).Granted, "held for longer than the retention")

	clock.Advance(time.Hour + retention - 1)
	v2 := acquire(t, n, "key", bob, time.Second)
	assert.Equal(t, v.Fence+1, v2.Fence, "kept for all of the retention after the grant ended")

	clock.Advance(time.Second + retention)
	s, err := n.Inspect(t.Context(), "key")
	require.NoError(t, err)
	assert.Zero(t, s.Counter)
}
