package report

import (
	"fmt"
	"math"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

// demand is one figure that redlock has to reach.
type demand struct {
	what    string
	least   bool // the limit is the least; else it is the most
	limit   float64
	measure func(r *Results) float64
}

// Verdict is a demand and what was measured. A figure that was not measured is NaN
// and missed.
type Verdict struct {
	What  string
	Value float64
	Limit float64
	Least bool
}

// OK says that the demand is met.
func (v Verdict) OK() bool {
	if v.Least {
		return v.Value >= v.Limit
	}
	return v.Value <= v.Limit // false for NaN
}

func (v Verdict) measured() string {
	if math.IsNaN(v.Value) {
		return "not measured"
	}
	return ratioText(v.Value)
}

func (v Verdict) limit() string { return ratioText(v.Limit) }

func (v Verdict) relation() string {
	if v.Least {
		return "≥"
	}
	return "≤"
}

func (v Verdict) verdict() string {
	switch {
	case v.OK():
		return "ok"
	case math.IsNaN(v.Value):
		return "-"
	}
	return "missed"
}

func (v Verdict) String() string {
	return fmt.Sprintf("%-9s %s: %s, %s %s", v.verdict(), v.What, v.measured(), v.relation(), v.limit())
}

// Check compares with everything that is demanded.
func (r *Results) Check() []Verdict {
	var verdicts []Verdict
	for _, d := range demands() {
		verdicts = append(verdicts, Verdict{d.what, d.measure(r), d.limit, d.least})
	}
	return append(verdicts, r.broken())
}

// broken counts what redlock must never do, in every run: hold a key twice, give a
// token that is not larger, lose a lock, leave one behind, or fail.
func (r *Results) broken() Verdict {
	v := Verdict{What: "runs of redlock in which two held a key, a token did not grow, a lock was lost or left behind, or it failed"}
	for _, run := range r.Runs {
		if run.Peer == lockers.Redlock && (run.Error != "" || len(run.Problems) > 0) {
			v.Value++
		}
	}
	return v
}

// demands are what is asked of redlock, beside redsync as it comes, on five
// redis-servers and with fencing.
func demands() []demand {
	all := []demand{
		{"alone: p50 of lock and unlock ÷ redsync's", false, 0.5, ratioTo("alone", lockers.Redsync, "both_p50_us")},
		{"alone: p50 of lock and unlock ÷ go-redis fan-out's", false, 0.9, ratioTo("alone", lockers.FanOut, "both_p50_us")},
		{"alone: allocations", false, 25, medianOf("alone", "allocs")},
		{"512 goroutines: operations a second ÷ redsync's", true, 10, ratioTo("crowd-512", lockers.Redsync, "ops_per_s")},
		{"512 goroutines: operations a second ÷ pipelined go-redis's", true, 0.6, ratioTo("crowd-512", lockers.Pipelined, "ops_per_s")},
		{"64 goroutines: operations a second ÷ redsync's", true, 10, ratioTo("crowd-64", lockers.Redsync, "ops_per_s")},
	}
	for _, crowd := range []string{"512", "64"} {
		for _, of := range []string{"client", "server"} {
			all = append(all, demand{crowd + " goroutines: " + of + " CPU an operation ÷ redsync's", false, 1.0 / 9,
				ratioTo("crowd-"+crowd, lockers.Redsync, of+"_cpu_us")})
		}
	}
	all = append(all,
		demand{"hot key, 16 lockers: hand-offs a second ÷ redsync's", true, 15, ratioTo("hot", lockers.Redsync, "handoffs_per_s")},
		demand{"hot key, 16 lockers: p99 of the wait ÷ redsync's", false, 1.0 / 15, ratioTo("hot", lockers.Redsync, "wait_p99_us")},
		demand{"hot key, 16 lockers: fewest ÷ most sections", true, 0.9, medianOf("hot", "fairness")},
		demand{"hot key, 16 lockers: p50 of the hand-off ÷ an uncontended Lock's", false, 2.5, medianOf("hot", "handoff_per_lock")},
		demand{"hot key, 16 lockers: server commands a section", false, 60, medianOf("hot", "commands")},
		demand{"hot key, 64 goroutines of one locker: sections a second ÷ redsync's", true, 50, ratioTo("hot-shared", lockers.Redsync, "sections_per_s")},
	)
	for _, f := range []servers.Fault{servers.Slow, servers.Stopped, servers.Closed} {
		all = append(all, demandsOfFault(string(f))...)
	}
	return append(all,
		demand{"100,000 leases: bytes of client memory each, key not counted", false, 1024, atFull(medianOf("held", "bytes_per_lease"))},
		demand{"100,000 leases: % of a core", false, 60, atFull(medianOf("held", "core_percent"))},
	)
}

func demandsOfFault(fault string) []demand {
	bad, sustained := "bad-"+fault, "sustained-"+fault
	growth := func(name string, slack float64) func(r *Results) float64 {
		return func(r *Results) float64 {
			begin, end := medianOf(sustained, name+"_begin"), medianOf(sustained, name+"_end")
			if name == "memory" {
				begin, end = medianOf(sustained, name+"_begin_kib"), medianOf(sustained, name+"_end_kib")
			}
			return (end(r) - slack) / begin(r)
		}
	}
	return []demand{
		{"one node " + fault + ": p99 of lock ÷ the healthy one", false, 1.5, medianOf(bad, "lock_p99_per_healthy")},
		{"one node " + fault + ": p99 of unlock ÷ the healthy one", false, 1.5, medianOf(bad, "unlock_p99_per_healthy")},
		// A few goroutines and a bit of memory come and go with what is under way.
		{"one node " + fault + ", under load for long: goroutines late ÷ early", false, 1.1, growth("goroutines", 10)},
		{"one node " + fault + ", under load for long: memory late ÷ early", false, 1.1, growth("memory", 512)},
	}
}

func ratioTo(workload, peer, figure string) func(r *Results) float64 {
	return func(r *Results) float64 { return r.ratio(workload, lockers.Redlock, peer, figure) }
}

func medianOf(workload, figure string) func(r *Results) float64 {
	return func(r *Results) float64 { return r.median(workload, lockers.Redlock, figure) }
}

// atFull counts a figure only if so many leases were held as are demanded.
func atFull(f func(r *Results) float64) func(r *Results) float64 {
	return func(r *Results) float64 {
		if r.median("held", lockers.Redlock, "leases") < 100_000 {
			return math.NaN()
		}
		return f(r)
	}
}

// Missed counts the demands that were not met, or not measured.
func Missed(verdicts []Verdict) (missed int) {
	for _, v := range verdicts {
		if !v.OK() {
			missed++
		}
	}
	return missed
}
