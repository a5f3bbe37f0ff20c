package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/sim"
	"github.com/quorumlock/redlock/sim/chaos"
)

func newChaosCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Break real servers under the lock, and judge what came of it",
		Long: `chaos starts real redis-servers, MariaDBs and ZooKeepers on this machine, and
clients as processes of their own, and injects faults while they work: kills,
freezes, partitions, leaping clocks, lost data, broken connections. It judges the
whole history afterwards, with the checkers of "redlock sim" and with porcupine.

  list       the stories that real servers can have part in
  run        tell one or all of them
  soak       random faults, for as long as you like
  judge      judge a recorded run again

It needs redis-server, mariadbd and java with ZooKeeper installed, and a C compiler
for what concerns servers' clocks. Nothing listens on anything but 127.0.0.1, and
every process ends with this one.
` + simExitHelp,
		Example: `  redlock chaos run kleppmann-crash-restart --html story.html
  redlock chaos run --all
  redlock chaos soak --for 10m --store . --html soak.html`,
		Args: noSuchCommand,
		RunE: noCommand,
	}
	cmd.AddCommand(newChaosList(), newChaosRun(), newChaosSoak(), newChaosJudge(),
		newChaosChild("worker", chaos.Worker), newChaosChild("store", chaos.Store))
	return cmd
}

// newChaosChild is what chaos runs of this program again.
func newChaosChild(role string, live func(context.Context, io.Reader, io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use:    role,
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Ignore(interrupts...) // the one that started it sees to its end
			logging.Disable()            // go-redis would log every failed dial
			return live(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// self is how this program is run again.
func self() (chaos.Self, error) {
	program, err := os.Executable()
	return chaos.Self{Program: program, Args: []string{"chaos"}}, err
}

func newChaosList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the stories that real servers can have part in",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range chaos.Stories() {
				var on []string
				for _, q := range s.Real {
					on = append(on, q.Quorum)
				}
				fmt.Fprintf(w, "%s\t%v\t%s\t%s\n", s.Name, s.Expect, strings.Join(on, " "), s.Title)
			}
			return w.Flush()
		},
	}
}

// chaosFlags are those of everything that runs.
type chaosFlags struct {
	seed  uint64
	page  string
	store string
	dir   string
}

func (f *chaosFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.page, "html", "", "write a page with pictures to `FILE`")
	cmd.Flags().StringVar(&f.store, "store", "", "record every run in a file in `DIR`")
	cmd.Flags().StringVar(&f.dir, "dir", "", "let servers keep their data in `DIR` (default: a temporary one)")
}

// check sees to it that what is to be written can be.
func (f *chaosFlags) check() error {
	if err := checkFiles(f.page); err != nil {
		return err
	}
	if err := makeDir(f.store, 0o755); err != nil {
		return err
	}
	return makeDir(f.dir, 0o700)
}

// withCluster runs something with servers, and ends them whatever happens.
func withCluster(ctx context.Context, cmd *cobra.Command, dir string, do func(context.Context, *chaos.Cluster) error) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	return onCluster(ctx, cmd, dir, do)
}

// onCluster starts a cluster, and ends it when whatever is done with it is over.
func onCluster(ctx context.Context, cmd *cobra.Command, dir string, do func(context.Context, *chaos.Cluster) error) error {
	logging.Disable() // go-redis would log every failed dial
	cluster, err := chaos.New(dir)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if err := cluster.Clocks(); err != nil {
		say(cmd.ErrOrStderr(), "servers' clocks cannot be set: %v", err)
	}
	err = do(ctx, cluster)
	if errors.Is(err, context.Canceled) {
		if ended := interrupted(ctx, "every server and client has ended"); ended != nil {
			return ended
		}
	}
	return err
}

func newChaosRun() *cobra.Command {
	var f chaosFlags
	var all bool
	var quorum string
	cmd := &cobra.Command{
		Use:   "run [NAME]",
		Short: "Tell a story on real servers, with and without the guard it is about",
		Long: `run tells the story called NAME on each quorum that it is made for, and its twins:
the same story to clients that are kept from what a guard goes by, or that have a
careless lock instead. Stories are so many times shorter than in a simulation.
` + simExitHelp,
		ValidArgsFunction: completeStories(chaos.Stories),
		RunE: func(cmd *cobra.Command, args []string) error {
			tellings, err := chosenTellings(args, all, quorum)
			if err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			return f.tell(cmd, tellings)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "tell all of them")
	addQuorum(cmd, &quorum, "", "only on that quorum")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "draw delays and pauses from that seed")
	f.add(cmd)
	return cmd
}

func chosenTellings(args []string, all bool, quorum string) ([]chaos.Telling, error) {
	stories := chaos.Stories()
	if all != (len(args) == 0) || len(args) > 1 {
		return nil, usageError("name one story, or --all: redlock chaos list shows them")
	}
	if !all {
		stories = nil
		for _, s := range chaos.Stories() {
			if s.Name == args[0] {
				stories = append(stories, s)
			}
		}
		if len(stories) == 0 {
			return nil, usageError("there is no story %q for real servers: redlock chaos list shows them", args[0])
		}
	}
	var out []chaos.Telling
	for _, t := range chaos.Tellings(stories) {
		if quorum == "" || t.Quorum == quorum {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, usageError("no such story on quorum %q: redlock chaos list shows which there are", quorum)
	}
	return out, nil
}

// teller tells stories and keeps what came of them.
type teller struct {
	flags   *chaosFlags
	self    chaos.Self
	details bool

	mu      sync.Mutex
	out     io.Writer
	told    []*chaos.Told // in the order of the tellings; nil for what was not told
	wrong   int
	skipped int
	failed  error // to write what was to be kept
}

// lanes splits tellings between two clusters, which work side by side: they wait
// for most of the time.
func lanes(tellings []chaos.Telling) [2][]int {
	var lanes [2][]int
	for i := range tellings {
		lane := 1
		if tellings[i].Quorum == "redis" {
			lane = 0
		}
		lanes[lane] = append(lanes[lane], i)
	}
	return lanes
}

func (f *chaosFlags) tell(cmd *cobra.Command, tellings []chaos.Telling) error {
	me, err := self()
	if err != nil {
		return err
	}
	began := redlock.SystemClock().Now()
	t := &teller{flags: f, self: me, details: len(tellings) <= 8, out: cmd.OutOrStdout(), told: make([]*chaos.Told, len(tellings))}
	all, ctx := errgroup.WithContext(cmd.Context())
	for i, lane := range lanes(tellings) {
		if len(lane) == 0 {
			continue
		}
		dir := f.dir
		if dir != "" {
			dir = filepath.Join(dir, fmt.Sprintf("lane-%d", i+1))
		}
		all.Go(func() error {
			return withCluster(ctx, cmd, dir, func(ctx context.Context, c *chaos.Cluster) error { return t.lane(ctx, c, tellings, lane) })
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	told := slices.DeleteFunc(t.told, func(r *chaos.Told) bool { return r == nil })
	fmt.Fprintf(t.out, "\n%d of %d runs ended as they are told, in %v", len(told)-t.wrong, len(tellings), (redlock.SystemClock().Now() - began).Round(time.Second))
	if t.skipped > 0 {
		fmt.Fprintf(t.out, "; %d could not be told", t.skipped)
	}
	fmt.Fprintln(t.out)
	if f.page != "" {
		t.failed = errors.Join(t.failed, createFile(f.page, func(w io.Writer) error { return chaos.WriteHTML(w, told) }))
	}
	if t.wrong > 0 {
		return withFailure(&exitError{status: exitUnexpected}, t.failed)
	}
	return t.failed
}

// lane tells some of the stories, one after the other.
func (t *teller) lane(ctx context.Context, c *chaos.Cluster, tellings []chaos.Telling, lane []int) error {
	for _, i := range lane {
		telling := &tellings[i]
		if c.Clocks() != nil && telling.NeedsClocks() {
			t.skip(telling)
			continue
		}
		before := redlock.SystemClock().Now()
		r, err := c.Tell(ctx, t.self, telling, t.flags.seed)
		if err != nil {
			return err
		}
		t.keep(i, r, redlock.SystemClock().Now()-before)
	}
	return nil
}

func (t *teller) skip(telling *chaos.Telling) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped++
	fmt.Fprintf(t.out, "%-60s NOT TOLD: servers' clocks cannot be set here\n", telling.Name())
}

// keep prints what came of a telling, and records it.
func (t *teller) keep(i int, r *chaos.Told, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told[i] = r
	again := ""
	if r.Tries > 1 {
		again = fmt.Sprintf("; told %d times, as the fault had not come in time", r.Tries)
	}
	fmt.Fprintf(t.out, "%-60s %v (%v%s)\n", r.Telling.Name(), r.Report.Verdict, took.Round(100*time.Millisecond), again)
	if r.Wrong != "" {
		t.wrong++
		fmt.Fprintf(t.out, "  NOT AS TOLD: %s\n", r.Wrong)
	}
	if r.Wrong != "" || t.details {
		tellResult(t.out, r.Result)
	}
	if t.flags.store != "" {
		_, err := r.Record.Store(t.flags.store)
		t.failed = errors.Join(t.failed, err)
	}
}

// tellResult prints the verdict, what led to it, and the figures.
func tellResult(out io.Writer, r *chaos.Result) {
	fmt.Fprintln(out, fold(r.Headline(), 80))
	if r.Report.Broken() != nil && !r.Record.Soak {
		for _, n := range r.Report.Story() {
			fmt.Fprintf(out, "  %12s  %-6s %s\n", n.Time(), n.Who, n.Text)
		}
	}
	for _, line := range r.Lines() {
		fmt.Fprintln(out, fold(line, 100))
	}
	fmt.Fprintln(out)
}

func newChaosSoak() *cobra.Command {
	var f chaosFlags
	var s chaos.Soak
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Random faults on real servers, for as long as you like",
		Long: `soak has several processes lock in every way there is, on many keys, while faults
drawn from the seed befall the servers, the links and the processes. None of them
leaves what the lock's guarantees rest on, so two holders at once, a token out of
order, a key that stays locked, or a lock that is not to be had after the faults end
it with status 10 or 11; so does a client that grows.

An interrupt ends the faults early; what happened by then is judged and told all the
same, and the status is 128+N for signal N, 130 for Ctrl-C. A second one ends
everything at once.
` + simExitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.Seed = f.seed
			if err := checkSoak(cmd, s); err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			me, err := self()
			if err != nil {
				return err
			}
			ctx, enough, stop := interruptedTwice(cmd.Context(), cmd.ErrOrStderr())
			defer stop()
			s.Enough = enough.Done()
			return onCluster(ctx, cmd, f.dir, func(ctx context.Context, c *chaos.Cluster) error {
				r, err := c.Soak(ctx, me, s)
				if err != nil {
					return err
				}
				tellResult(cmd.OutOrStdout(), r)
				verdict := soakError(cmd.OutOrStdout(), r)
				if verdict == nil {
					verdict = interrupted(enough, "the soak was cut short")
				}
				return withFailure(verdict, f.keep(r))
			})
		},
	}
	fl := cmd.Flags()
	fl.DurationVar(&s.For, "for", time.Minute, "how long")
	fl.Uint64Var(&f.seed, "seed", 1, "draw the faults from that seed")
	addQuorum(cmd, &s.Quorum, "mixed", "kinds of nodes")
	fl.IntVar(&s.Nodes, "nodes", 5, "how many nodes")
	fl.IntVar(&s.Clients, "clients", 4, "how many processes")
	fl.IntVar(&s.Keys, "keys", 6, "how many keys")
	fl.DurationVar(&s.TTL, "ttl", 2*time.Second, "the locks' TTL")
	f.add(cmd)
	return cmd
}

// checkSoak refuses zeros too, which stand for the defaults in a Soak.
func checkSoak(cmd *cobra.Command, s chaos.Soak) error {
	if err := atLeast(cmd, 1, "nodes", "clients", "keys"); err != nil {
		return err
	}
	if err := aboveZero(cmd, "for", "ttl"); err != nil {
		return err
	}
	if err := s.Check(); err != nil {
		return usageError("%v", err)
	}
	return nil
}

// keep writes what was asked for.
func (f *chaosFlags) keep(r *chaos.Result) (failed error) {
	if f.store != "" {
		_, failed = r.Record.Store(f.store)
	}
	if f.page != "" {
		failed = errors.Join(failed, createFile(f.page, r.WriteHTML))
	}
	return failed
}

func soakError(out io.Writer, r *chaos.Result) error {
	wrong := r.Check()
	if wrong == "" {
		fmt.Fprintln(out, "no promise was broken")
		return nil
	}
	fmt.Fprintf(out, "VIOLATED: %s\n", wrong)
	if v := r.Report.Broken(); v != nil && v.Invariant == sim.Liveness || len(r.Report.Violations) == 0 && len(r.Growth) == 0 {
		return &exitError{status: exitLiveness}
	}
	return &exitError{status: exitSafety}
}

func newChaosJudge() *cobra.Command {
	var f chaosFlags
	cmd := &cobra.Command{
		Use:   "judge FILE",
		Short: "Judge a recorded run again",
		Long:  "judge reads what --store wrote, and judges it as if it had just happened.\n" + simExitHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("name one recorded run")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			in, err := os.Open(args[0])
			if err != nil {
				return usageError("%v", err)
			}
			defer in.Close()
			rec, err := chaos.Read(in)
			if err != nil {
				return usageError("%s: %v", args[0], err)
			}
			r := rec.Judge()
			tellResult(cmd.OutOrStdout(), r)
			verdict := verdictError(&r.Report)
			if rec.Soak {
				verdict = soakError(cmd.OutOrStdout(), r)
			}
			return withFailure(verdict, f.keep(r))
		},
	}
	cmd.Flags().StringVar(&f.page, "html", "", "write a page with pictures to `FILE`")
	return cmd
}
