package redlock_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/mysqlnode"
	"github.com/quorumlock/redlock/redisnode"
)

// A server whose clock leaps frees a key early. The clock guard keeps another
// program from winning with its vote while the holder relies on it; without the
// guard there are two holders.
func TestLeapingServerClock(t *testing.T) {
	kinds := map[string]func(t *testing.T, clock *testserver.Clock) redlock.Node{
		"redis": func(t *testing.T, clock *testserver.Clock) redlock.Node {
			return redisnode.New(nil, redisnode.Options{Addr: clock.StartRedis(t).Addr(), Durable: true})
		},
		"mysql lease rows": func(t *testing.T, clock *testserver.Clock) redlock.Node {
			node := mysqlnode.New(nil, mysqlnode.Options{DSN: clock.StartMariaDB(t).DSN()})
			require.NoError(t, node.Init(t.Context()))
			return node
		},
	}
	for kind, leaping := range kinds {
		for _, guarded := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, guarded %v", kind, guarded), func(t *testing.T) {
				clock := testserver.NewClock(t)
				var nodes []redlock.Node
				for range 2 {
					nodes = append(nodes, redisnode.New(nil, redisnode.Options{Addr: testserver.StartRedis(t).Addr(), Durable: true}))
				}
				nodes = append(nodes, leaping(t, clock))
				for _, node := range nodes {
					t.Cleanup(func() { _ = node.(io.Closer).Close() })
				}
				second := leapAgainst(t, nodes, guarded, func() { clock.Jump(time.Hour) })
				assert.Equal(t, !guarded, second, "a second holder came in")
			})
		}
	}
}

// leapAgainst has a holder rely on the second and third node alone, makes the
// third one's clock leap, and reports whether another program gets the lock then.
func leapAgainst(t *testing.T, nodes []redlock.Node, guarded bool, leap func()) bool {
	t.Helper()
	const ttl = time.Minute
	seen := &recorder{}
	locker := func(observer redlock.Observer) *redlock.Locker {
		l, err := redlock.New(nodes, redlock.Options{TTL: ttl, NoRenew: true, NodeTimeout: 10 * time.Second, Observer: observer})
		require.NoError(t, err)
		if !guarded {
			redlock.LeaveOutClockGuard(l)
		}
		t.Cleanup(func() { require.NoError(t, l.Close(context.Background())) })
		return l
	}
	// Somebody else's leftover is all that the first node has of the key.
	squatter := redlock.AcquireRequest{Key: "k", Owner: "squatter", TTL: ttl}
	vote, err := nodes[0].Acquire(t.Context(), squatter)
	require.NoError(t, err)
	require.True(t, vote.Granted)

	holder, challenger := locker(nil), locker(seen)
	lease, err := holder.Lock(t.Context(), "k")
	require.NoError(t, err)
	// The challenger has seen the clocks before, as a program at work has: all of
	// them, so it waits for the slowest node too.
	seen.reset()
	_, err = challenger.TryLock(t.Context(), "k")
	require.ErrorIs(t, err, redlock.ErrNotAcquired)
	require.Eventually(t, func() bool { return seen.refusals() == len(nodes) }, time.Minute, time.Millisecond)
	require.NoError(t, nodes[0].Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: "squatter"}))

	leap()
	_, err = challenger.TryLock(t.Context(), "k")
	require.NoError(t, lease.Err(), "the holder still relies on its lease")
	if err != nil {
		require.ErrorContains(t, err, "its clock leapt forward")
	}
	return err == nil
}
