// Package workloads loads lockers in the ways that users do, and measures what it
// costs and what comes of it.
package workloads

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

// Config says how long and how much to measure.
type Config struct {
	Rounds  int           `json:"rounds"`
	Alone   time.Duration `json:"alone_ns"`   // of one locker in one round
	Crowd   time.Duration `json:"crowd_ns"`   // the same
	Hot     time.Duration `json:"hot_ns"`     // the same
	Bad     time.Duration `json:"bad_ns"`     // the same, and as long while all nodes are well
	Sustain time.Duration `json:"sustain_ns"` // under load with a bad node
	Leases  int           `json:"leases"`     // held at the same time
}

// Figures are what was measured, by name. The unit is part of the name.
type Figures map[string]float64

// Run is what one locker did under one workload in one round.
type Run struct {
	Workload string   `json:"workload"`
	Peer     string   `json:"peer"`
	Round    int      `json:"round"`
	Figures  Figures  `json:"figures,omitempty"`
	Problems []string `json:"problems,omitempty"` // promises that were broken
	Error    string   `json:"error,omitempty"`
}

// Workload is one way to load a locker.
type Workload struct {
	Name   string
	Title  string
	Once   bool // not in every round
	Few    bool // who is too slow for a few operations in one round sits the others out
	Takes  func(p *lockers.Peer) bool
	Column []Column // of the table for people
	run    func(ctx context.Context, s *scene) (Figures, error)
}

// Column is a figure that a table shows.
type Column struct {
	Head   string
	Figure string
	Digits int
	Ratio  bool // show it as a ratio to redsync's, too
}

// Bench is a run of the benchmark.
type Bench struct {
	Config  Config
	Servers *servers.Servers
}

// Measure runs one locker under one workload.
func (b *Bench) Measure(ctx context.Context, w *Workload, p *lockers.Peer, round int) Run {
	run := Run{Workload: w.Name, Peer: p.Name, Round: round}
	s := &scene{bench: b, peer: p, round: round, where: b.where(), skip: -1}
	err := b.Servers.Reset(ctx)
	if err == nil {
		runtime.GC() // not at the next one's expense
		run.Figures, err = w.run(ctx, s)
	}
	left, errLeft := s.finish(ctx)
	if err == nil {
		err = errLeft
	}
	if err != nil {
		run.Error = err.Error()
		return run
	}
	run.Problems = s.problems()
	for name, v := range run.Figures {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			delete(run.Figures, name) // JSON has no such numbers
		} else if v != 0 {
			run.Figures[name] = rounded(v)
		}
	}
	if p.IsLock != nil {
		run.Figures["stranded"] = float64(left)
		if left > 0 {
			run.Problems = append(run.Problems, fmt.Sprintf("%d locks were left on the servers", left))
		}
	}
	return run
}

// rounded keeps the five digits that mean something.
func rounded(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-4)
	if unit < 1 {
		return math.Round(v*math.Round(1/unit)) / math.Round(1/unit)
	}
	return math.Round(v/unit) * unit
}

func (b *Bench) where() lockers.Where {
	return lockers.Where{
		Redis:     b.Servers.RedisAddrs(),
		MySQL:     b.Servers.MySQLDSN(),
		ZooKeeper: b.Servers.ZooKeeperAddr(),
		Etcd:      b.Servers.EtcdEndpoint(),
	}
}

// All are all workloads.
func All() []Workload {
	all := []Workload{alone(), crowd(64), crowd(512), hotSeparate(), hotPause(), hotFar(), hotShared()}
	for _, f := range []servers.Fault{servers.Slow, servers.Stopped, servers.Closed} {
		all = append(all, badNode(f))
	}
	for _, f := range []servers.Fault{servers.Slow, servers.Stopped, servers.Closed} {
		all = append(all, sustained(f))
	}
	return append(all, held())
}
