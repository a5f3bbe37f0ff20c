package redlock_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// BenchmarkLockUnlock is what the library itself costs: five nodes without a
// network.
func BenchmarkLockUnlock(b *testing.B) {
	l, err := redlock.New(memnode.NewN(5, memnode.Options{}), redlock.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close(b.Context())
	var serial atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		key := strconv.FormatInt(serial.Add(1), 10)
		for pb.Next() {
			lease, err := l.Lock(b.Context(), key)
			if err != nil {
				b.Error(err)
				return
			}
			if err := lease.Unlock(b.Context()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
