package bench

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/quorumlock/redlock"
)

// load has goroutines lock and unlock, b.N times together, and reports what that
// took. Goroutine i uses lockers[i], or so on in turn, and the key that keyOf names.
func load(b *testing.B, lockers []*redlock.Locker, goroutines int, keyOf func(goroutine int) string) {
	b.Helper()
	// Everybody connects first.
	for i, l := range lockers {
		lockOnce(b, l, fmt.Sprintf("first-%d", i), nil)
	}
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var mu sync.Mutex
	all := hdrhistogram.New(1, int64(time.Minute), 3)
	var working sync.WaitGroup
	used := cpu()
	b.ResetTimer()
	for i := range goroutines {
		working.Go(func() {
			var seen []time.Duration
			for left.Add(-1) >= 0 {
				lockOnce(b, lockers[i%len(lockers)], keyOf(i), &seen)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, d := range seen {
				_ = all.RecordValue(min(int64(d), int64(time.Minute))) // it is in the range
			}
		})
	}
	working.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
	for name, p := range map[string]float64{"p50-ns": 50, "p99-ns": 99, "p999-ns": 99.9} {
		b.ReportMetric(float64(all.ValueAtQuantile(p)), name)
	}
}

// lockOnce locks and unlocks, and adds how long that took.
func lockOnce(b *testing.B, l *redlock.Locker, key string, seen *[]time.Duration) {
	start := time.Now()
	lease, err := l.Lock(b.Context(), key)
	if err != nil {
		b.Error(err)
		return
	}
	if err := lease.Unlock(b.Context()); err != nil {
		b.Error(err)
	}
	if seen != nil {
		*seen = append(*seen, time.Since(start))
	}
}

// cpu is the processor time that this process has used, embedded nodes included.
func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func ownKey(goroutine int) string { return fmt.Sprintf("key-%d", goroutine) }
func hotKey(int) string           { return "hot" }
