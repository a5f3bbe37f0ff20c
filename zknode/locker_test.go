package zknode_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/zknode"
)

// A quorum of three ensembles, each of which dies and comes back in turn.
func TestLockerWhileServersDie(t *testing.T) {
	t.Parallel()
	var servers []*testserver.ZooKeeper
	var nodes []redlock.Node
	for range 3 {
		s := server(t)
		servers = append(servers, s)
		nodes = append(nodes, node(t, s.Addr(), session(10*time.Second)))
	}
	// A machine that stands still for a moment is no outage.
	locker, err := redlock.New(nodes, redlock.Options{TTL: 5 * time.Second, NodeTimeout: 2 * time.Second, OutageWait: patience})
	require.NoError(t, err)

	keys := []string{"a", "b"}
	var inside, leases [2]atomic.Int64
	var last [2]atomic.Uint64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 8 {
		k := i % len(keys)
		wg.Go(func() {
			for !stop.Load() {
				lease, err := locker.Lock(within(t, patience), keys[k])
				if err != nil {
					t.Error(err)
					return
				}
				if inside[k].Add(1) != 1 {
					t.Error("two at once")
				}
				if last[k].Swap(lease.Token()) >= lease.Token() {
					t.Error("the token did not grow")
				}
				leases[k].Add(1)
				inside[k].Add(-1)
				if err := lease.Unlock(within(t, patience)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, s := range servers {
		time.Sleep(500 * time.Millisecond)
		s.Restart()
		time.Sleep(time.Second) // until clients are back
	}
	stop.Store(true)
	wg.Wait()
	require.NoError(t, locker.Close(within(t, patience)))
	for k, key := range keys {
		t.Logf("%d leases on %s", leases[k].Load(), key)
		require.Positive(t, leases[k].Load())
		for _, n := range nodes {
			require.Eventually(t, func() bool {
				state, err := n.Inspect(within(t, patience), key)
				return err == nil && !state.Held
			}, patience, tick, "left behind on %s", n.Name())
			require.Zero(t, n.(*zknode.Node).Lanes())
		}
	}
}

// Processes that take turns exclude each other, and leave nothing when they are done.
func TestLockersTakeTurns(t *testing.T) {
	t.Parallel()
	const lockers, rounds = 4, 10
	roots := []string{"/a", "/b", "/c"}
	s := server(t)
	conn := connect(t, s.Addr(), time.Minute)
	var inside atomic.Int64
	var last atomic.Uint64
	var wg sync.WaitGroup
	for range lockers {
		var nodes []redlock.Node
		for _, root := range roots {
			nodes = append(nodes, node(t, s.Addr(), func(o *zknode.Options) { o.Root = root }))
		}
		locker, err := redlock.New(nodes, redlock.Options{OutageWait: patience})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, locker.Close(within(t, patience))) })
		wg.Go(func() {
			for range rounds {
				lease, err := locker.Lock(within(t, patience), "k")
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				if last.Swap(lease.Token()) >= lease.Token() {
					t.Error("the token did not grow")
				}
				inside.Add(-1)
				if err := lease.Unlock(within(t, patience)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, root := range roots {
		require.Eventually(t, func() bool {
			r, _ := recordAt(t, conn, root)
			return r.Grant == nil && len(r.Queue) == 0 && len(wakesAt(t, conn, root)) == 0
		}, patience, tick, "left behind on %s", root)
	}
}

// One acquire and one release, with nothing else to do.
func BenchmarkAcquireRelease(b *testing.B) {
	s := testserver.StartZooKeeper(b, testserver.ZooKeeperOptions{MaxSession: time.Hour})
	n := zknode.New(nil, zknode.Options{Servers: []string{s.Addr()}, Durable: true})
	defer n.Close()
	for i := 0; b.Loop(); i++ {
		vote, err := n.Acquire(b.Context(), redlock.AcquireRequest{Key: "k", Owner: owner(i), TTL: 10 * time.Second})
		if err != nil || !vote.Granted {
			b.Fatal(vote, err)
		}
		if err := n.Release(b.Context(), redlock.ReleaseRequest{Key: "k", Owner: owner(i)}); err != nil {
			b.Fatal(err)
		}
	}
}
