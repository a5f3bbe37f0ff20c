package chaos

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// sampleEvery is how often a process looks at itself.
const sampleEvery = time.Second

// sampleUntil says what the process takes of the machine, until ctx ends.
func (w *worker) sampleUntil(ctx context.Context) {
	for sleep(ctx, sampleEvery) {
		s := takeSample()
		s.Client, s.Life = w.spec.Client, w.spec.Life
		w.say(said{Sample: &s})
	}
}

// takeSample reads what the runtime and, on Linux, the kernel tell of this process.
func takeSample() Sample {
	s := Sample{At: stamp(), Goroutines: runtime.NumGoroutine()}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() == metrics.KindUint64 {
		s.Heap = int64(live[0].Value.Uint64())
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			s.RSS = pages * int64(os.Getpagesize())
		}
	}
	files, _ := os.ReadDir("/proc/self/fd")
	for _, f := range files {
		s.Files++
		if target, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			s.Conns++
		}
	}
	return s
}
