package measure

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies collects those that one goroutine saw. It is a plain list, so that
// collecting costs what is measured next to nothing.
type Latencies struct {
	list []int64
}

// Reserve makes room, so that collecting n of them allocates nothing.
func (l *Latencies) Reserve(n int) { l.list = make([]int64, 0, n) }

// Add collects one.
func (l *Latencies) Add(d time.Duration) { l.list = append(l.list, int64(d)) }

// Len counts them.
func (l *Latencies) Len() int { return len(l.list) }

// Reset forgets them and keeps the room.
func (l *Latencies) Reset() { l.list = l.list[:0] }

// Quantiles answers for percentiles of latencies, to three digits.
type Quantiles struct {
	h *hdrhistogram.Histogram
}

const maxLatency = 10 * time.Minute

// Merge puts what several goroutines collected into one histogram.
func Merge(all ...*Latencies) Quantiles {
	h := hdrhistogram.New(1, int64(maxLatency), 3)
	for _, l := range all {
		for _, v := range l.list {
			_ = h.RecordValue(min(max(v, 1), int64(maxLatency))) // it is in the range
		}
	}
	return Quantiles{h}
}

// Micros is the percentile p, from 0 to 100, in microseconds. It is NaN if there are
// no latencies.
func (q Quantiles) Micros(p float64) float64 {
	if q.h.TotalCount() == 0 {
		return math.NaN()
	}
	return float64(q.h.ValueAtQuantile(p)) / 1e3
}
