package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/sim"
)

// spendMemory trades memory for speed: a simulation makes much garbage and keeps
// little.
func spendMemory() { debug.SetGCPercent(800) }

func newSimSwarm() *cobra.Command {
	cfg := sim.SwarmConfig{Clock: redlock.SystemClock(), Every: time.Second, Workers: runtime.NumCPU()}
	var without, store string
	cmd := &cobra.Command{
		Use:   "swarm",
		Short: "Look for trouble in random worlds under random faults",
		Long: `swarm draws a world and its faults from each seed, runs it with every checker on,
ends all faults, and demands that everybody gets the lock again. TTLs and
latencies are drawn over decades, and clients are aimed at the moments at which
locks change hands. Each hundredth seed is run twice, to compare.

It stops at the first seed that breaks a promise, prints how to run it again, and
with --store writes it to a file for "redlock sim shrink". An interrupt ends it
early, and what was done by then is summed up.
` + simExitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Without, err = sim.ParseDefence(without); err != nil {
				return usageError("%v", err)
			}
			if err := atLeast(cmd, 0, "seeds"); err != nil {
				return err
			}
			if err := atLeast(cmd, 1, "jobs"); err != nil {
				return err
			}
			if cfg.For < 0 {
				return usageError("--for is %v: it must not be negative", cfg.For)
			}
			if err := checkFiles(store); err != nil {
				return err
			}
			if cfg.For == 0 && cfg.Seeds == 0 {
				cfg.For = time.Minute
			}
			spendMemory()
			progress := cmd.ErrOrStderr()
			cfg.Progress = func(s *sim.SwarmReport) { fmt.Fprintln(progress, s) }
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			cfg.Enough = ctx.Done()
			before := processorTime()
			s := sim.Swarm(cfg)
			tellSwarm(cmd.OutOrStdout(), &s, processorTime()-before, without)
			if !s.Failed {
				return interrupted(ctx, "the swarm was cut short")
			}
			verdict := verdictError(&s.Report)
			if store != "" {
				verdict = withFailure(verdict, storeRun(store, &s.Report))
			}
			return verdict
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&cfg.First, "first", 1, "begin with that seed")
	f.IntVar(&cfg.Seeds, "seeds", 0, "run so many seeds")
	f.DurationVar(&cfg.For, "for", 0, "run for so long (default 1m)")
	f.IntVarP(&cfg.Workers, "jobs", "j", cfg.Workers, "run so many at once")
	f.StringVar(&without, "without", "", "leave out `DEFENCES`, by the names that mutants prints")
	f.StringVar(&store, "store", "", "write a failing run to `FILE`")
	return cmd
}

// tellSwarm also tells the rates by the processor time that was used: on a machine
// that others use too, they say what the program can do.
func tellSwarm(out io.Writer, s *sim.SwarmReport, used time.Duration, without string) {
	fmt.Fprintf(out, "%v\n", s)
	if seconds := used.Seconds(); seconds > 0 {
		fmt.Fprintf(out, "%.1f s of processor time: %.2f M events and %.0f acquisitions per second of it\n",
			seconds, float64(s.Stats.Events)/seconds/1e6, float64(s.Stats.Acquired)/seconds)
	}
	fmt.Fprintf(out, "%d events, %d leases, %d faults, %d messages lost; %d seeds run twice; %d seeds went beyond the assumptions, %d of them with two holders\n",
		s.Stats.Events, s.Stats.Acquired, s.Stats.Faults, s.Stats.Lost, s.Twice, s.Beyond, s.Overlaps)
	if !s.Failed {
		for _, pair := range s.Coverage.Unhit() {
			fmt.Fprintf(out, "never hit: %s\n", pair)
		}
		fmt.Fprintln(out, "no promise was broken")
		return
	}
	fmt.Fprintf(out, "VIOLATED by seed %d: %s: %s\n", s.Seed, s.Report.Broken().Invariant, s.Report.Broken().Text)
	again := fmt.Sprintf("--seed %d", s.Seed)
	if without != "" {
		again += fmt.Sprintf(" --without %q", without)
	}
	fmt.Fprintf(out, "again: redlock sim replay %s --hash %016x\n", again, s.Report.Hash)
	fmt.Fprintf(out, "smaller: redlock sim shrink %s\n", again)
}

// storeRun writes a run to a file, with its story and its tape.
func storeRun(path string, r *sim.Report) error {
	if r.Tape() == nil {
		cfg := *r.Config
		cfg.Record = true
		again := sim.Run(cfg)
		r = &again
	}
	return createFile(path, func(w io.Writer) error { return printJSON(w, r.Replay()) })
}

func newSimExplore() *cobra.Command {
	var cfg sim.ExploreConfig
	var without string
	cmd := &cobra.Command{
		Use:   "explore",
		Short: "Try everything that can happen to a few clients",
		Long: `explore tries everything that can happen to a few lock attempts: any message
arrives late, never or twice, any grant expires at any moment, and with --amnesias
a node loses all it knows. It demands that tokens differ and grow. No time passes,
so what it says holds whatever clocks do.

Without flags it exhausts the bounds that it can in a minute or so, and then leaves
out one by one what tokens rest on, to show that it would notice.
` + simExitHelp,
		Example: `  redlock sim explore
  redlock sim explore --clients 2 --dups 1 --without confirm-by-fence`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Without, err = sim.ParseDefence(without); err != nil {
				return usageError("%v", err)
			}
			if err := atLeast(cmd, 0, "max-states"); err != nil {
				return err
			}
			spendMemory()
			progress := cmd.ErrOrStderr()
			cfg.Progress = func(n int) { fmt.Fprintf(progress, "%d states\n", n) }
			out := cmd.OutOrStdout()
			if cmd.Flags().NFlag() == 0 {
				return exploreAll(out, cfg.Progress)
			}
			r, err := sim.Explore(cfg)
			if err != nil {
				return usageError("%v", err)
			}
			for _, line := range r.Story {
				fmt.Fprintf(out, "  %s\n", line)
			}
			tellExploration(out, &cfg, &r)
			if r.Broken != "" {
				return &exitError{status: exitSafety}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Clients, "clients", 2, "attempts, up to 3")
	f.IntVar(&cfg.Nodes, "nodes", 3, "nodes, up to 3")
	f.IntVar(&cfg.Duplicates, "dups", 0, "acquires of each attempt that arrive twice, up to 3")
	f.IntVar(&cfg.Amnesias, "amnesias", 0, "times that a node loses its data, up to 2")
	f.IntVar(&cfg.Ahead, "hints", 0, "by how much attempts' hints may differ, up to 9")
	f.IntVar(&cfg.MaxStates, "max-states", 0, "stop after so many (default 200 million)")
	f.StringVar(&without, "without", "", "leave out `DEFENCES`, by the names that mutants prints")
	f.SortFlags = false
	return cmd
}

func tellExploration(out io.Writer, cfg *sim.ExploreConfig, r *sim.ExploreReport) {
	fmt.Fprintf(out, "%v: ", cfg)
	switch {
	case r.Broken != "":
		fmt.Fprintf(out, "VIOLATED after %d states: %s\n", r.States, r.Broken)
	case !r.Exhausted:
		fmt.Fprintf(out, "no promise was broken in %d states, and there are more\n", r.States)
	default:
		fmt.Fprintf(out, "no promise was broken in all %d states and %d steps between them\n", r.States, r.Steps)
	}
}

// exploreAll makes the standard explorations, and tells where one does not end as
// it should.
func exploreAll(out io.Writer, progress func(int)) error {
	safe, broken := sim.StandardExplorations()
	status := 0
	for _, cfg := range safe {
		cfg.Progress = progress
		r, err := sim.Explore(cfg)
		if err != nil {
			return err
		}
		for _, line := range r.Story {
			fmt.Fprintf(out, "  %s\n", line)
		}
		tellExploration(out, &cfg, &r)
		if !r.Exhausted {
			status = exitSafety
		}
	}
	fmt.Fprintln(out, "\nand what each of these is for:")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, cfg := range broken {
		r, err := sim.Explore(cfg)
		if err != nil {
			return err
		}
		found := fmt.Sprintf("after %d states, %s", r.States, r.Broken)
		if r.Broken == "" {
			found, status = "NOBODY MISSES IT", max(status, exitUnexpected)
		}
		fmt.Fprintf(w, "  without %v\t%v\t%s\n", cfg.Without, cfg, found)
	}
	if err := w.Flush(); err != nil || status != 0 {
		return &exitError{status: status, err: err}
	}
	return nil
}

func newSimMutants() *cobra.Command {
	return &cobra.Command{
		Use:   "mutants",
		Short: "Leave out each defence in turn, and see that it is noticed",
		Long: `mutants runs the protocol without each of its defences, and prints which mode
noticed, what broke, and after how much. It proves that the checkers see
something, and shows what each defence is for.
` + simExitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spendMemory()
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LEFT OUT\tNOTICED BY\tWHERE\tBREAKS\tEVENTS OR STATES\tTIME")
			missed := 0
			for _, m := range sim.Mutants(redlock.SystemClock(), runtime.NumCPU(), nil) {
				mode := m.Mode
				if mode == "" {
					mode = "NOBODY"
					missed++
				}
				fmt.Fprintf(w, "%v\t%s\t%s\t%s\t%d\t%v\n", m.Defence, mode, m.Where, m.Breaks, m.Events, m.Took.Round(time.Millisecond))
			}
			s := sim.Swarm(sim.SwarmConfig{First: 1, Seeds: 600, Workers: runtime.NumCPU(), Clock: redlock.SystemClock()})
			clean := "clean"
			if s.Failed {
				clean = "ACCUSED"
			}
			fmt.Fprintf(w, "nothing\t%s\t%d seeds\t\t%d\t%v\n", clean, s.Seeds, s.Stats.Events, s.Elapsed.Round(time.Millisecond))
			if err := w.Flush(); err != nil || missed > 0 || s.Failed {
				return &exitError{status: exitUnexpected, err: err}
			}
			return nil
		},
	}
}

// runFlags name a run: a file that was stored, or a seed of the swarm.
type runFlags struct {
	seed     uint64
	without  string
	pictures pictureFlags
	asJSON   bool
}

func (f *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "the world of that seed of the swarm")
	cmd.Flags().StringVar(&f.without, "without", "", "leave out `DEFENCES`, by the names that mutants prints")
	f.pictures.add(cmd)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// show tells of the run as the flags say.
func (f *runFlags) show(out io.Writer, r *sim.Report, title string) error {
	var failed error
	if f.asJSON {
		failed = printJSON(out, r.Replay())
	} else {
		tellRun(out, r)
	}
	return errors.Join(failed, f.pictures.write(
		func(w io.Writer) error { return r.WriteHTML(w, title, "") },
		func(w io.Writer) error { return r.WriteSVG(w, title) }))
}

// config gives the run, and the hash that it should have, if one is known. It sees
// to it that what is to be written can be.
func (f *runFlags) config(cmd *cobra.Command, args []string) (cfg sim.Config, hash string, err error) {
	seeded := cmd.Flags().Changed("seed")
	if seeded == (len(args) == 1) || len(args) > 1 {
		return cfg, "", usageError("name a stored run, or a --seed")
	}
	if seeded {
		cfg = sim.Draw(f.seed)
	} else {
		data, err := os.ReadFile(args[0])
		if err != nil {
			return cfg, "", usageError("%v", err)
		}
		stored, loaded, err := sim.Load(data)
		if err != nil {
			return cfg, "", usageError("%s: %v", args[0], err)
		}
		cfg, hash = loaded, stored.Hash
	}
	without, err := sim.ParseDefence(f.without)
	if err != nil {
		return cfg, "", usageError("%v", err)
	}
	if without != 0 {
		cfg.Tape = nil // other choices come up
	}
	cfg.Without |= without
	return cfg, hash, f.pictures.check()
}

func newSimReplay() *cobra.Command {
	var f runFlags
	var hash string
	cmd := &cobra.Command{
		Use:   "replay [FILE]",
		Short: "Run a stored run, or a seed of the swarm, again",
		Long: `replay runs it again, and tells what led to what broke. It demands the hash that
the file has, or --hash gives.
` + simExitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, stored, err := f.config(cmd, args)
			if err != nil {
				return err
			}
			if hash == "" {
				hash = stored
			}
			cfg.Record = true
			r := sim.Run(cfg)
			failed := f.show(cmd.OutOrStdout(), &r, fmt.Sprintf("Seed %d", cfg.Seed))
			verdict := verdictError(&r)
			if now := fmt.Sprintf("%016x", r.Hash); hash != "" && hash != now {
				verdict = &exitError{status: exitNotRepeated, err: fmt.Errorf("the hash is %s, and was %s", now, hash)}
			}
			return withFailure(verdict, failed)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&hash, "hash", "", "the `HASH` that the run must have")
	return cmd
}

func newSimShrink() *cobra.Command {
	var f runFlags
	var store string
	cmd := &cobra.Command{
		Use:   "shrink [FILE]",
		Short: "Make a failing run as small as it gets",
		Long: `shrink leaves out faults, lost and repeated messages, clients and time for as long
as the same promise breaks, and tells the story that is left.
` + simExitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := f.config(cmd, args)
			if err != nil {
				return err
			}
			if err := checkFiles(store); err != nil {
				return err
			}
			s, broken := sim.Shrink(cfg)
			if !broken {
				return usageError("this run breaks no promise: there is nothing to shrink")
			}
			out := cmd.OutOrStdout()
			if !f.asJSON {
				fmt.Fprintf(out, "%d of %d faults are needed: %d events, where there were %d (%d runs)\n", s.After, s.Before, s.Report.Stats.Events, s.Events, s.Runs)
				for _, fault := range s.Report.Config.Faults {
					fmt.Fprintf(out, "  fault  %v\n", fault)
				}
			}
			failed := f.show(out, &s.Report, "The smallest run that breaks it")
			if store != "" {
				failed = errors.Join(failed, storeRun(store, &s.Report))
			}
			return failed
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&store, "store", "", "write the small run to `FILE`")
	return cmd
}

func newSimAdvise() *cobra.Command {
	var a sim.AdviseConfig
	var loss float64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "advise",
		Short: "Say what to expect of a TTL on your network",
		Long: `advise simulates a fleet for a day of its time, with the latencies, pauses and
outages that you give, and says how long clients waited, and how often the lock
was lost or refused.`,
		Example: `  redlock sim advise --latency 2ms --jitter 20ms --nodes 5 --ttl 10s --holds 3s
  redlock sim advise --ttl 1s --pause 2s --pause-every 10m`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := atLeast(cmd, 1, "nodes", "clients"); err != nil {
				return err
			}
			if err := aboveZero(cmd, "ttl", "holds"); err != nil {
				return err
			}
			if !(loss >= 0 && loss <= 1) { // NaN is neither
				return usageError("--loss is %v: it is a fraction, from 0 to 1", loss)
			}
			a.LossPPM = int64(loss * 1e6)
			advice, err := sim.Advise(a)
			if err != nil {
				return usageError("%v", err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(advice.Report.Replay().Stats)
			}
			for _, line := range advice.Lines {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&a.Nodes, "nodes", 3, "nodes")
	f.IntVar(&a.Clients, "clients", 3, "clients that want the lock")
	f.DurationVar(&a.TTL, "ttl", redlock.DefaultTTL, "the lock's TTL")
	f.DurationVar(&a.Hold, "holds", time.Second, "how long a client holds the lock, on average")
	f.DurationVar(&a.Think, "think", 0, "between unlocking and asking again, on average")
	f.DurationVar(&a.Latency, "latency", time.Millisecond, "one way to a node, at the least")
	f.DurationVar(&a.Jitter, "jitter", 0, "what is added to it, on average")
	f.Float64Var(&loss, "loss", 0, "the fraction of messages that get lost")
	f.DurationVar(&a.Pause, "pause", 0, "how long a client stands still now and then")
	f.DurationVar(&a.PauseEvery, "pause-every", 0, "how often it does, on average")
	f.DurationVar(&a.Outage, "outage", 0, "how long a node stands still now and then")
	f.DurationVar(&a.OutageEvery, "outage-every", 0, "how often it does, on average")
	f.Uint64Var(&a.Seed, "seed", 1, "seed")
	f.BoolVar(&asJSON, "json", false, "print the counts as JSON")
	f.SortFlags = false
	return cmd
}
