package sim

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

// SwarmConfig is a run of many seeds.
type SwarmConfig struct {
	First   uint64        // the first seed
	Seeds   int           // how many; 0 is no limit
	For     time.Duration // how long; 0 is no limit
	Workers int           // default 1
	Without Defence
	Clock   redlock.Clock   // measures the rates; nothing in a world sees it
	Enough  <-chan struct{} // once closed, no more seeds are begun
	Every   time.Duration   // between calls of Progress
	// Progress is told how far the swarm is, by one goroutine at a time.
	Progress func(*SwarmReport)
}

// SwarmReport is what came of a swarm.
type SwarmReport struct {
	Seeds    int
	Stats    Stats
	Elapsed  time.Duration
	Workers  int
	Coverage Coverage
	Overlaps int    // seeds with two holders while nodes' clocks leapt
	Beyond   int    // seeds whose faults went beyond the assumptions
	Twice    int    // seeds that were run twice, to compare
	Failed   bool   // some seed broke an invariant
	Seed     uint64 // the first that did
	Report   Report // of that seed
}

// Rate is a count per second and worker.
func (s *SwarmReport) Rate(count int) float64 {
	return float64(count) / max(s.Elapsed.Seconds(), 1e-9) / float64(s.Workers)
}

// String is a progress line.
func (s *SwarmReport) String() string {
	unhit := len(s.Coverage.Unhit())
	return fmt.Sprintf("%d seeds, %.2f M events/s and %.0f acquisitions/s per core, %.0f times real time, %d of %d fault x phase pairs hit",
		s.Seeds, s.Rate(s.Stats.Events)/1e6, s.Rate(s.Stats.Acquired), s.Stats.Time.Seconds()/max(s.Elapsed.Seconds(), 1e-9),
		s.Coverage.Pairs()-unhit, s.Coverage.Pairs())
}

// Swarm runs seed after seed until one breaks an invariant, or time or seeds are
// used up. Which seeds break does not depend on the number of workers.
func Swarm(cfg SwarmConfig) SwarmReport {
	s := swarm{cfg: cfg, start: cfg.Clock.Now()}
	s.report.Workers = max(1, cfg.Workers)
	s.next.Store(cfg.First)
	var workers sync.WaitGroup
	for range s.report.Workers {
		workers.Go(s.work)
	}
	workers.Wait()
	s.report.Elapsed = cfg.Clock.Now() - s.start
	return s.report
}

type swarm struct {
	cfg   SwarmConfig
	start time.Duration
	next  atomic.Uint64
	over  atomic.Bool

	mu     sync.Mutex
	report SwarmReport
	told   time.Duration
}

func (s *swarm) work() {
	var coverage Coverage
	for !s.over.Load() && !s.enough() {
		seed := s.next.Add(1) - 1
		if s.cfg.Seeds > 0 && seed-s.cfg.First >= uint64(s.cfg.Seeds) {
			break
		}
		cfg := Draw(seed)
		cfg.Without = s.cfg.Without
		twice := seed%100 == 99
		cfg.KeepTape = twice
		r := runCovered(cfg, &coverage)
		if twice {
			cfg.Tape = r.Tape()
			r.compare(runCovered(cfg, &coverage))
		}
		s.add(seed, &r, &coverage, twice)
		coverage = Coverage{}
	}
}

// enough says that nobody wants to see more.
func (s *swarm) enough() bool {
	select {
	case <-s.cfg.Enough:
		return true
	default:
		return false
	}
}

func runCovered(cfg Config, coverage *Coverage) Report {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	w := newWorld(&cfg)
	w.coverage = coverage
	w.run()
	return w.report()
}

// compare holds two runs of one Config against each other.
func (r *Report) compare(again Report) {
	if r.Hash != again.Hash {
		r.Violations = append(r.Violations, Violation{Invariant: Determinism,
			Text: fmt.Sprintf("two runs of seed %d have the hashes %016x and %016x", r.Config.Seed, r.Hash, again.Hash)})
		r.Verdict = Violated
	}
}

func (s *swarm) add(seed uint64, r *Report, coverage *Coverage, twice bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.report
	t.Seeds++
	t.Stats.add(&r.Stats)
	t.Coverage.Add(coverage)
	t.Twice += int(b2u(twice))
	t.Beyond += int(b2u(r.Beyond != ""))
	t.Overlaps += int(b2u(r.Overlaps > 0 && r.Verdict != Violated))
	if r.Verdict == Violated && (!t.Failed || seed < t.Seed) {
		t.Failed, t.Seed, t.Report = true, seed, *r
		s.over.Store(true)
	}
	r.world = nil
	t.Elapsed = s.cfg.Clock.Now() - s.start
	if s.cfg.For > 0 && t.Elapsed >= s.cfg.For {
		s.over.Store(true)
	}
	if s.cfg.Progress != nil && t.Elapsed-s.told >= s.cfg.Every {
		s.told = t.Elapsed
		s.cfg.Progress(t)
	}
}

func (s *Stats) add(t *Stats) {
	for _, pair := range []struct {
		sum *int
		one int
	}{
		{&s.Events, t.Events}, {&s.Acquired, t.Acquired}, {&s.Failed, t.Failed}, {&s.NoQuorum, t.NoQuorum}, {&s.GaveUp, t.GaveUp},
		{&s.Cancelled, t.Cancelled}, {&s.Losses, t.Losses}, {&s.Calls, t.Calls}, {&s.Passed, t.Passed}, {&s.Renewals, t.Renewals}, {&s.Faults, t.Faults}, {&s.Lost, t.Lost},
		{&s.Barred, t.Barred}, {&s.Writes, t.Writes}, {&s.Accepted, t.Accepted}, {&s.Rejected, t.Rejected}, {&s.LostUpdates, t.LostUpdates},
	} {
		*pair.sum += pair.one
	}
	s.Time += t.Time
	s.Waited += t.Waited
	s.LongestWait = max(s.LongestWait, t.LongestWait)
}
