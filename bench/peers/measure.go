package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/report"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
	"github.com/quorumlock/redlock/bench/peers/internal/workloads"
)

// measureAll starts the servers and runs everything. If it is interrupted, the
// results so far come with the error.
func measureAll(ctx context.Context, config workloads.Config, ws []workloads.Workload, ps []lockers.Peer, progress io.Writer) (*report.Results, error) {
	want := map[servers.Kind]bool{}
	for _, p := range ps {
		want[p.On] = slices.ContainsFunc(ws, func(w workloads.Workload) bool { return w.Takes(&p) }) || want[p.On]
	}
	group, err := servers.Start(want)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	results := &report.Results{Started: time.Now(), Machine: report.ThisMachine(), Config: config}
	ps = slices.DeleteFunc(slices.Clone(ps), func(p lockers.Peer) bool {
		absent := group.Absent(p.On)
		if absent != nil {
			results.Absent = append(results.Absent, fmt.Sprintf("%s did not take part: %v", p.Name, absent))
		}
		return absent != nil
	})
	fmt.Fprintln(progress, "waiting until the servers are old enough to vote")
	if err := group.Settle(ctx, lockers.TTL+time.Second); err != nil {
		return nil, err
	}
	bench := &workloads.Bench{Config: config, Servers: group}
	for _, w := range ws {
		out := map[string]bool{}
		for round := range rounds(&w, &config) {
			for _, p := range turn(ps, round) {
				if !w.Takes(&p) || out[p.Name] {
					continue
				}
				run := bench.Measure(ctx, &w, &p, round)
				if err := ctx.Err(); err != nil {
					return results, err
				}
				out[p.Name] = w.Few && run.Figures["operations"] < fewOperations
				results.Runs = append(results.Runs, run)
				results.Took = time.Since(results.Started).Seconds()
				tell(progress, &run)
			}
		}
	}
	return results, nil
}

// fewOperations are too few to be worth the minutes that more rounds of them take:
// a locker that waits for a frozen node needs seconds for each.
const fewOperations = 5

func rounds(w *workloads.Workload, config *workloads.Config) int {
	if w.Once {
		return 1
	}
	return config.Rounds
}

// turn is the order of one round. Every other one goes backward, so that nobody is
// always the one behind whoever heats the machine up.
func turn(ps []lockers.Peer, round int) []lockers.Peer {
	ps = slices.Clone(ps)
	if round%2 == 1 {
		slices.Reverse(ps)
	}
	return ps
}

func tell(progress io.Writer, run *workloads.Run) {
	fmt.Fprintf(progress, "%-18s round %d  %-20s", run.Workload, run.Round+1, run.Peer)
	for _, name := range []string{"both_p50_us", "ops_per_s", "handoffs_per_s", "lock_p99_us", "bytes_per_lease", "stranded"} {
		if v, ok := run.Figures[name]; ok {
			fmt.Fprintf(progress, "  %s %.0f", name, v)
		}
	}
	if run.Error != "" {
		fmt.Fprintf(progress, "  FAILED: %s", run.Error)
	}
	for _, p := range run.Problems {
		fmt.Fprintf(progress, "  PROBLEM: %s", p)
	}
	fmt.Fprintln(progress)
}
