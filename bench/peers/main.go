// Command peers measures redlock and its peers beside each other: on the same
// servers, in the same minutes, in rounds in which all of them take turns.
//
//	go run .                            everything, in about six minutes
//	go run . -json run.json -check      the same, with the raw figures and a verdict
//	go run . -workloads hot -rounds 1   a look at one thing
//	go run . -report run.json           the tables, in Markdown
//	go run . -report run.json -into ../../docs/benchmarks.md
//
// It starts five redis-servers on free ports of 127.0.0.1, and a MariaDB and a
// ZooKeeper server where they are installed, and ends them again. With -tags etcd it
// has an etcd server too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/report"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
	"github.com/quorumlock/redlock/bench/peers/internal/workloads"
)

func main() {
	servers.ServeIfChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

type flags struct {
	config    workloads.Config
	workloads string
	peers     string
	json      string
	report    string
	into      string
	check     bool
}

func parse(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("peers", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.IntVar(&f.config.Rounds, "rounds", 3, "rounds in which all lockers take turns")
	set.DurationVar(&f.config.Alone, "alone", time.Second, "how long each locker works in a round, alone")
	set.DurationVar(&f.config.Crowd, "crowd", time.Second, "the same, of a crowd")
	set.DurationVar(&f.config.Hot, "hot", 1500*time.Millisecond, "the same, on a hot key")
	set.DurationVar(&f.config.Bad, "bad", time.Second, "the same, with a bad node; and as long before, while it is well")
	set.DurationVar(&f.config.Sustain, "sustain", 15*time.Second, "how long to watch memory under load with a bad node")
	set.IntVar(&f.config.Leases, "leases", 100_000, "how many leases to hold")
	set.StringVar(&f.workloads, "workloads", "", "only those that begin with one of these names, with commas between: "+strings.Join(workloadNames(), ", "))
	set.StringVar(&f.peers, "peers", "", "only lockers whose names contain one of these, with commas between: "+strings.Join(peerNames(), ", "))
	set.StringVar(&f.json, "json", "", "write the raw figures to this `file`")
	set.StringVar(&f.report, "report", "", "measure nothing: print tables in Markdown from the raw figures in this `file`")
	set.StringVar(&f.into, "into", "", "with -report: put the tables into this `file`, in the place of those that are there")
	set.BoolVar(&f.check, "check", false, "compare with what is demanded of redlock, and fail if a figure is missed")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag: run with -help to see them", set.Arg(0))
	}
	if f.into != "" && f.report == "" {
		return nil, errors.New("-into is for the tables that -report makes")
	}
	c := &f.config
	if c.Rounds < 1 || c.Leases < 1 || min(c.Alone, c.Crowd, c.Hot, c.Bad, c.Sustain) <= 0 {
		return nil, errors.New("rounds, leases and durations must be above zero")
	}
	return f, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if f.report != "" {
		results, err := report.Load(f.report)
		if err != nil {
			return err
		}
		if f.into != "" {
			return results.Insert(f.into, f.report)
		}
		results.WriteMarkdown(stdout)
		return f.judge(results, stderr)
	}
	ws, err := f.chosenWorkloads()
	if err != nil {
		return err
	}
	ps, err := f.chosenPeers()
	if err != nil {
		return err
	}
	logging.Disable() // bad nodes are on purpose
	results, err := measureAll(ctx, f.config, ws, ps, stderr)
	if results != nil {
		results.WriteText(stdout)
		if f.json != "" {
			err = errors.Join(err, results.Save(f.json))
		}
	}
	if err != nil {
		return err
	}
	return f.judge(results, stdout)
}

// judge tells of demands that were missed, if it is asked to.
func (f *flags) judge(results *report.Results, out io.Writer) error {
	if !f.check {
		return nil
	}
	fmt.Fprintln(out)
	verdicts := results.Check()
	for _, v := range verdicts {
		fmt.Fprintln(out, v)
	}
	if missed := report.Missed(verdicts); missed > 0 {
		return fmt.Errorf("%d of %d figures were missed", missed, len(verdicts))
	}
	return nil
}

func (f *flags) chosenWorkloads() ([]workloads.Workload, error) {
	var chosen []workloads.Workload
	for _, w := range workloads.All() {
		if chooses(f.workloads, w.Name, strings.HasPrefix) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no workload is called %q: there are %s", f.workloads, strings.Join(workloadNames(), ", "))
	}
	return chosen, nil
}

func (f *flags) chosenPeers() ([]lockers.Peer, error) {
	var chosen []lockers.Peer
	for _, p := range lockers.All() {
		if chooses(f.peers, p.Name, strings.Contains) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no locker is called %q: there are %s", f.peers, strings.Join(peerNames(), ", "))
	}
	return chosen, nil
}

func chooses(wanted, name string, fits func(name, wanted string) bool) bool {
	for w := range strings.SplitSeq(wanted, ",") {
		if wanted == "" || w != "" && fits(name, w) {
			return true
		}
	}
	return false
}

func workloadNames() (names []string) {
	for _, w := range workloads.All() {
		names = append(names, w.Name)
	}
	return names
}

func peerNames() (names []string) {
	for _, p := range lockers.All() {
		names = append(names, p.Name)
	}
	return names
}
