package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// BenchmarkAlone is one goroutine and nobody in its way.
func BenchmarkAlone(b *testing.B) {
	on(b, func(b *testing.B, connect func() []redlock.Node, _ []breakable) {
		load(b, []*redlock.Locker{locker(b, connect(), redlock.Options{})}, 1, ownKey)
	})
}

// BenchmarkCrowd is many goroutines of one Locker, each with a key of its own.
func BenchmarkCrowd(b *testing.B) {
	for _, n := range []int{64, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			on(b, func(b *testing.B, connect func() []redlock.Node, _ []breakable) {
				load(b, []*redlock.Locker{locker(b, connect(), redlock.Options{})}, n, ownKey)
			})
		})
	}
}

// BenchmarkHotShared is 64 goroutines of one Locker that want one key.
func BenchmarkHotShared(b *testing.B) {
	on(b, func(b *testing.B, connect func() []redlock.Node, _ []breakable) {
		load(b, []*redlock.Locker{locker(b, connect(), redlock.Options{})}, 64, hotKey)
	})
}

// BenchmarkHotSeparate is 16 Lockers with connections of their own, as so many
// processes would be, that want one key.
func BenchmarkHotSeparate(b *testing.B) {
	on(b, func(b *testing.B, connect func() []redlock.Node, _ []breakable) {
		var lockers []*redlock.Locker
		for range 16 {
			lockers = append(lockers, locker(b, connect(), redlock.Options{}))
		}
		load(b, lockers, len(lockers), hotKey)
	})
}

// BenchmarkBadNode is one goroutine while one node of five is bad.
func BenchmarkBadNode(b *testing.B) {
	const bad = nodeCount - 1
	for _, fault := range []struct {
		name string
		turn func(nodes []redlock.Node, servers []breakable)
	}{
		{"slow", func(nodes []redlock.Node, _ []breakable) { nodes[bad] = slow{nodes[bad]} }},
		{"stopped", func(_ []redlock.Node, servers []breakable) { servers[bad].stop() }},
		{"closed", func(_ []redlock.Node, servers []breakable) { servers[bad].close() }},
	} {
		b.Run(fault.name, func(b *testing.B) {
			on(b, func(b *testing.B, connect func() []redlock.Node, servers []breakable) {
				nodes := append([]redlock.Node(nil), connect()...)
				fault.turn(nodes, servers)
				b.Cleanup(servers[bad].mend)
				load(b, []*redlock.Locker{locker(b, nodes, redlock.Options{})}, 1, ownKey)
			})
		})
	}
}

// slow is a node that takes 100 ms longer to answer.
type slow struct{ redlock.Node }

func (s slow) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	if err := linger(ctx); err != nil {
		return redlock.Vote{}, err
	}
	return s.Node.Acquire(ctx, req)
}

func (s slow) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	if err := linger(ctx); err != nil {
		return err
	}
	return s.Node.Release(ctx, req)
}

func linger(ctx context.Context) error {
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// BenchmarkHeld is what leases cost that are held: one operation is one renewal, and
// comes when it is due. The memory is per lease.
func BenchmarkHeld(b *testing.B) {
	const (
		leases = 1000
		ttl    = 6 * time.Second // so a renewal every 2 s
	)
	on(b, func(b *testing.B, connect func() []redlock.Node, _ []breakable) {
		renewed := &renewals{done: make(chan struct{})}
		l := locker(b, connect(), redlock.Options{TTL: ttl, Observer: renewed, OutageWait: -1})
		before := memoryInUse()
		held := make([]*redlock.Lease, leases)
		for i := range held {
			var err error
			held[i], err = l.Lock(b.Context(), fmt.Sprintf("held-%d", i))
			require.NoError(b, err)
		}
		after := memoryInUse()
		b.ReportAllocs()
		used := cpu()
		b.ResetTimer()
		renewed.wait(b.N)
		b.StopTimer()
		b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
		b.ReportMetric((float64(after)-float64(before))/leases, "B/lease")
		for _, lease := range held {
			require.NoError(b, lease.Err())
			require.NoError(b, lease.Unlock(b.Context()))
		}
	})
}

// renewals counts renewals down.
type renewals struct {
	left    atomic.Int64
	waiting atomic.Bool
	done    chan struct{}
}

func (r *renewals) Observe(_ context.Context, e redlock.Event) {
	if e.Kind == redlock.EventRenewed && r.waiting.Load() && r.left.Add(-1) == 0 {
		close(r.done)
	}
}

// wait waits for so many renewals from now on.
func (r *renewals) wait(n int) {
	r.done = make(chan struct{})
	r.left.Store(int64(n))
	r.waiting.Store(true)
	<-r.done
	r.waiting.Store(false)
}

// memoryInUse is what is left of the heap after a collection, and the stacks. With
// memory nodes it holds what these keep, too.
func memoryInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkMixed is a quorum of all kinds of nodes.
func BenchmarkMixed(b *testing.B) {
	nodes := startMixed(b)
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			// A crowd takes databases on few cores longer than a default allows.
			opts := redlock.Options{NodeTimeout: 3 * time.Second}
			load(b, []*redlock.Locker{locker(b, nodes, opts)}, n, ownKey)
		})
	}
}
