package quorumbench

import (
	"math"
	"strconv"
	"time"
)

// Duration is a time.Duration that is milliseconds in JSON.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	ms := float64(time.Duration(d).Round(100*time.Nanosecond)) / float64(time.Millisecond)
	return strconv.AppendFloat(nil, ms, 'f', -1, 64), nil
}

// Report is what a run has shown.
type Report struct {
	Nodes       int      `json:"nodes"`
	Quorum      int      `json:"quorum"`
	TTL         Duration `json:"ttl_ms"`
	NodeTimeout Duration `json:"node_timeout_ms"`
	Concurrency int      `json:"concurrency"`
	Keys        int      `json:"keys"`
	Prefix      string   `json:"prefix"`

	Elapsed     Duration         `json:"elapsed_ms"`
	Interrupted bool             `json:"interrupted"`
	Locks       int64            `json:"locks"`
	PerSecond   float64          `json:"locks_per_s"`
	Failed      int64            `json:"failed_locks"`
	Failures    map[string]int64 `json:"failures,omitempty"` // by kind, of Lock and Unlock
	Confirms    int64            `json:"confirms"`           // answers of a second round trip

	Lock   Latency `json:"lock"`
	Unlock Latency `json:"unlock"`

	// Of the rounds that were won and that all nodes answered or failed to: when
	// the majority was there, when the last node was, the difference, and when the
	// majority would have been there without its fastest node.
	Rounds   int64   `json:"rounds"`
	Majority Latency `json:"majority"`
	All      Latency `json:"all_nodes"`
	Saved    Latency `json:"saved"`
	OneGone  Latency `json:"majority_one_node_gone"`

	PerNode []NodeReport `json:"per_node"`
	Slices  []Slice      `json:"over_time"`
	Advice  []Advice     `json:"advice"`

	LeftLocked  int     `json:"left_locked"`      // keys on nodes, after everything was unlocked
	LeftUnknown int     `json:"left_unknown"`     // where that could not be seen
	Histogram   []Bar   `json:"lock_histogram"`   // of Lock
	Percentiles []Point `json:"lock_percentiles"` // the same, cumulated
}

// NodeReport is what one node did.
type NodeReport struct {
	Node      string  `json:"node"`
	Acquire   Latency `json:"acquire"`
	Release   Latency `json:"release"`
	Decides   float64 `json:"decides"` // the share of rounds whose majority it made full
	Last      float64 `json:"last"`    // the share of rounds that it was the last in
	Asked     int64   `json:"asked"`
	Failed    int64   `json:"failed"`
	LastError string  `json:"last_error,omitempty"`
}

// Latency is a distribution in short.
type Latency struct {
	Count int64    `json:"count"`
	Mean  Duration `json:"mean_ms"`
	P50   Duration `json:"p50_ms"`
	P90   Duration `json:"p90_ms"`
	P99   Duration `json:"p99_ms"`
	P999  Duration `json:"p999_ms"`
	Max   Duration `json:"max_ms"`
}

// Slice is one slice of the time, by when locks were had.
type Slice struct {
	From  Duration `json:"from_ms"`
	Locks int64    `json:"locks"`
	P50   Duration `json:"p50_ms"`
	P99   Duration `json:"p99_ms"`
	Max   Duration `json:"max_ms"`
}

// Bar is the number of latencies from From up to To.
type Bar struct {
	From  Duration `json:"from_ms"`
	To    Duration `json:"to_ms"`
	Count int64    `json:"count"`
}

// Point is one point of the percentile curve.
type Point struct {
	Percentile float64  `json:"percentile"`
	Value      Duration `json:"value_ms"`
}

func latencyOf(h histogram) Latency {
	if h.TotalCount() == 0 {
		return Latency{}
	}
	return Latency{
		Count: h.TotalCount(), Mean: Duration(h.Mean()),
		P50: Duration(h.at(50)), P90: Duration(h.at(90)), P99: Duration(h.at(99)), P999: Duration(h.at(99.9)), Max: Duration(h.Max()),
	}
}

// report sums up. Rounds that are still missing an answer are left out.
func (r *recorder) report(elapsed time.Duration) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = false
	r.endSlice()
	rep := &Report{
		Nodes: len(r.nodes), Quorum: r.quorum, TTL: Duration(r.cfg.TTL), NodeTimeout: Duration(r.cfg.NodeTimeout),
		Concurrency: r.cfg.Concurrency, Keys: r.cfg.Keys, Prefix: r.cfg.Prefix,
		Elapsed: Duration(elapsed), Locks: r.lock.TotalCount(), Failed: r.failedLocks, Failures: r.failures, Confirms: r.confirms,
		Lock: latencyOf(r.lock), Unlock: latencyOf(r.unlock),
		Rounds: r.complete, Majority: latencyOf(r.majority), All: latencyOf(r.all), Saved: latencyOf(r.saved), OneGone: latencyOf(r.oneGone),
		Slices: r.slices, Histogram: barsOf(r.lock), Percentiles: percentilesOf(r.lock),
	}
	if elapsed > 0 {
		rep.PerSecond = math.Round(10*float64(rep.Locks)/elapsed.Seconds()) / 10
	}
	share := func(n int64) float64 { return math.Round(1000*float64(n)/float64(max(1, r.complete))) / 1000 }
	for i := range r.nodes {
		n := &r.nodes[i]
		rep.PerNode = append(rep.PerNode, NodeReport{
			Node: n.name, Acquire: latencyOf(n.acquire), Release: latencyOf(n.release),
			Decides: share(n.decided), Last: share(n.last), Asked: n.asked, Failed: n.failed, LastError: n.lastError,
		})
	}
	return rep
}

// shortest is below what a drawing shows apart.
const shortest = time.Microsecond

// barsPerOctave is how finely the drawn histogram divides a doubling.
const barsPerOctave = 4

// barsOf puts a histogram into bars whose bounds grow by the same factor, from the
// first that counts to the last.
func barsOf(h histogram) (bars []Bar) {
	bound := func(i int) Duration {
		return Duration(float64(shortest) * math.Exp2(float64(i)/barsPerOctave))
	}
	counts := map[int]int64{}
	lowest, highest := math.MaxInt, math.MinInt
	for _, b := range h.Distribution() {
		if b.Count == 0 {
			continue
		}
		i := 0
		if b.To > int64(shortest) {
			i = int(math.Floor(barsPerOctave * math.Log2(float64(b.To)/float64(shortest))))
		}
		counts[i] += b.Count
		lowest, highest = min(lowest, i), max(highest, i)
	}
	for i := lowest; i <= highest && len(counts) > 0; i++ {
		bars = append(bars, Bar{From: bound(i), To: bound(i + 1), Count: counts[i]})
	}
	return bars
}

// percentilesOf gives the curve as far as there are latencies to tell.
func percentilesOf(h histogram) (points []Point) {
	n := h.TotalCount()
	for _, p := range []float64{0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999} {
		if n > 0 && (p <= 50 || float64(n)*(100-p)/100 >= 1) {
			points = append(points, Point{p, Duration(h.at(p))})
		}
	}
	if n > 0 {
		points = append(points, Point{100, Duration(h.Max())})
	}
	return points
}
