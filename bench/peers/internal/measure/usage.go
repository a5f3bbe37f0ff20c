package measure

import (
	"runtime"
	"syscall"
	"time"
)

// Usage is what this process has used so far.
type Usage struct {
	At     time.Time
	CPU    time.Duration
	Allocs uint64
}

// Now reads it.
func Now() Usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{At: time.Now(), CPU: cpu(), Allocs: m.Mallocs}
}

func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// Memory is the memory that is really needed at the moment: the heap after a
// collection, and the goroutines' stacks.
func Memory() uint64 {
	runtime.GC()
	runtime.GC() // what pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
