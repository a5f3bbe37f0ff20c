package workloads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
)

// alone is one goroutine that locks one key after the other.
func alone() Workload {
	return Workload{
		Name:  "alone",
		Title: "Alone: one goroutine, a key of its own each time, lock and unlock",
		Takes: func(*lockers.Peer) bool { return true },
		Column: []Column{
			{"p50 µs", "both_p50_us", 0, true},
			{"p99 µs", "both_p99_us", 0, false},
			{"lock p50", "lock_p50_us", 0, false},
			{"unlock p50", "unlock_p50_us", 0, false},
			{"client CPU µs", "client_cpu_us", 0, true},
			{"server CPU µs", "server_cpu_us", 0, true},
			{"allocs", "allocs", 1, false},
			{"commands", "commands", 1, false},
			{"left", "stranded", 0, false},
		},
		run: func(ctx context.Context, s *scene) (Figures, error) {
			return crowdOf(ctx, s, 1, s.bench.Config.Alone)
		},
	}
}

func forCrowds(p *lockers.Peer) bool { return !p.Lone }

// crowd is many goroutines of one process, with a key each.
func crowd(n int) Workload {
	return Workload{
		Name:  fmt.Sprintf("crowd-%d", n),
		Title: fmt.Sprintf("Crowd: %d goroutines of one process, with keys of their own, lock and unlock", n),
		Takes: forCrowds,
		Column: []Column{
			{"ops/s", "ops_per_s", 0, true},
			{"p50 µs", "both_p50_us", 0, false},
			{"p99 µs", "both_p99_us", 0, true},
			{"client CPU µs", "client_cpu_us", 1, true},
			{"server CPU µs", "server_cpu_us", 1, true},
			{"both CPU µs", "cpu_us", 1, true},
			{"allocs", "allocs", 1, false},
			{"left", "stranded", 0, false},
		},
		run: func(ctx context.Context, s *scene) (Figures, error) {
			return crowdOf(ctx, s, n, s.bench.Config.Crowd)
		},
	}
}

func crowdOf(ctx context.Context, s *scene, n int, d time.Duration) (Figures, error) {
	l, err := s.open()
	if err != nil {
		return nil, err
	}
	workers := s.newWorkers(l, n)
	if err := work(ctx, workers, warmUp(d)); err != nil {
		return nil, err
	}
	f := Figures{}
	m, err := s.meter(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := work(ctx, workers, d); err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	operations := latencies(workers, "", f)
	if operations == 0 {
		return nil, errors.New("no operation came to an end")
	}
	f["ops_per_s"] = float64(operations) / elapsed.Seconds()
	return f, m.stop(ctx, operations, f)
}

// warmUp is how long connections, pools and caches are given to fill.
func warmUp(d time.Duration) time.Duration { return min(d/4, 300*time.Millisecond) }
