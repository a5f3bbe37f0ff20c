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
	locker, err := redlock.New(nodes, redlock.Options{TTL: 5 * time.Second, OutageWait: patience})
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
