package workloads

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/measure"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

var faultTitles = map[servers.Fault]string{
	servers.Slow:    "one node of five answers 100 ms later",
	servers.Stopped: "one node of five is frozen: it takes connections and answers nothing",
	servers.Closed:  "one node of five has its port closed",
}

// badNode compares one goroutine's latencies before and after a node turned bad,
// through the same proxy.
func badNode(fault servers.Fault) Workload {
	return Workload{
		Name:  "bad-" + string(fault),
		Title: "Bad node: " + faultTitles[fault] + ", one goroutine",
		Few:   true,
		Takes: (*lockers.Peer).Quorum,
		Column: []Column{
			{"lock p50 µs", "lock_p50_us", 0, true},
			{"lock p99 µs", "lock_p99_us", 0, true},
			{"unlock p50 µs", "unlock_p50_us", 0, true},
			{"unlock p99 µs", "unlock_p99_us", 0, true},
			{"healthy lock p99", "healthy_lock_p99_us", 0, false},
			{"÷ healthy", "lock_p99_per_healthy", 2, false},
			{"healthy unlock p99", "healthy_unlock_p99_us", 0, false},
			{"÷ healthy", "unlock_p99_per_healthy", 2, false},
			{"goroutines more", "goroutines_more", 0, false},
			{"left", "stranded", 0, false},
		},
		run: func(ctx context.Context, s *scene) (Figures, error) { return turnBad(ctx, s, fault) },
	}
}

// behindProxy has the scene's lockers reach one node through a proxy.
func (s *scene) behindProxy() (*servers.Faulty, error) {
	faulty, err := s.bench.Servers.Faulty()
	if err != nil {
		return nil, err
	}
	s.where.Redis = faulty.Addrs()
	s.skip = servers.Bad
	s.mend = faulty.Close
	return faulty, nil
}

func turnBad(ctx context.Context, s *scene, fault servers.Fault) (Figures, error) {
	faulty, err := s.behindProxy()
	if err != nil {
		return nil, err
	}
	l, err := s.open()
	if err != nil {
		return nil, err
	}
	workers := s.newWorkers(l, 1)
	d := s.bench.Config.Bad
	f := Figures{}
	if err := errors.Join(work(ctx, workers, warmUp(d)), work(ctx, workers, d)); err != nil {
		return nil, err
	}
	latencies(workers, "healthy_", f)
	before := runtime.NumGoroutine()
	if err := faulty.Break(fault); err != nil {
		return nil, err
	}
	if err := work(ctx, workers, d); err != nil {
		return nil, err
	}
	f["goroutines_more"] = float64(runtime.NumGoroutine() - before)
	f["operations"] = float64(latencies(workers, "", f))
	f["lock_p99_per_healthy"] = f["lock_p99_us"] / f["healthy_lock_p99_us"]
	f["unlock_p99_per_healthy"] = f["unlock_p99_us"] / f["healthy_unlock_p99_us"]
	return f, nil
}

// sustainedCallers load a locker while one node is bad.
const sustainedCallers = 8

// sustained watches goroutines and memory under load with a bad node.
func sustained(fault servers.Fault) Workload {
	return Workload{
		Name:  "sustained-" + string(fault),
		Title: "Under load for long: " + faultTitles[fault] + ", 8 goroutines",
		Once:  true,
		Takes: func(p *lockers.Peer) bool { return p.Name == lockers.Redlock || p.Name == lockers.FanOut },
		Column: []Column{
			{"ops/s", "ops_per_s", 0, false},
			{"goroutines early", "goroutines_begin", 0, false},
			{"late", "goroutines_end", 0, false},
			{"memory early KiB", "memory_begin_kib", 0, false},
			{"late", "memory_end_kib", 0, false},
			{"left", "stranded", 0, false},
		},
		run: func(ctx context.Context, s *scene) (Figures, error) { return sustain(ctx, s, fault) },
	}
}

func sustain(ctx context.Context, s *scene, fault servers.Fault) (Figures, error) {
	faulty, err := s.behindProxy()
	if err != nil {
		return nil, err
	}
	l, err := s.open()
	if err != nil {
		return nil, err
	}
	workers := s.newWorkers(l, sustainedCallers)
	if err := work(ctx, workers, 100*time.Millisecond); err != nil {
		return nil, err
	}
	if err := faulty.Break(fault); err != nil {
		return nil, err
	}
	var goroutines, memory []float64
	operations := 0
	const pieces = 20
	piece := s.bench.Config.Sustain / pieces
	start := time.Now()
	for range pieces {
		count := make(chan int, 1)
		watch := time.AfterFunc(piece*9/10, func() { count <- runtime.NumGoroutine() })
		if err := work(ctx, workers, piece); err != nil {
			watch.Stop()
			return nil, err
		}
		goroutines = append(goroutines, float64(<-count))
		memory = append(memory, float64(measure.Memory())/1024)
		for _, w := range workers {
			operations += w.both.Len()
		}
	}
	f := Figures{"ops_per_s": float64(operations) / time.Since(start).Seconds()}
	early := func(v []float64) float64 { return measure.Median(v[len(v)/10 : len(v)*3/10]) }
	late := func(v []float64) float64 { return measure.Median(v[len(v)*8/10:]) }
	f["goroutines_begin"], f["goroutines_end"] = early(goroutines), late(goroutines)
	f["memory_begin_kib"], f["memory_end_kib"] = early(memory), late(memory)
	return f, nil
}
