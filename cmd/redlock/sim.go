package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock/sim"
)

// The exit statuses of "redlock sim" for what a run showed.
const (
	exitSafety      = 10 // a promise was broken
	exitLiveness    = 11 // the lock was not to be had after all faults ended
	exitUnexpected  = 12 // a scenario's verdict is not the expected one
	exitNotRepeated = 13 // two equal runs differed
)

const simExitHelp = `
Exit status:
  0    as expected; no promise broken
  10   a promise of the lock was broken
  11   the lock was not to be had after all faults had ended
  12   a scenario did not end as it is told
  13   two equal runs differed
  64   bad usage
  70   an internal error, or output that cannot be written
  128+N  signal N ended it, 130 for Ctrl-C`

func newSimCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Simulate the lock under faults, and see when it is safe",
		Long: `sim runs the lock protocol of this program in a simulated world: clients, nodes,
a network and clocks, and every fault that is known to break quorum locks. It
judges what happened, and shows it. Nothing real is locked, and no server needed.

  list       the stories that ship, with what comes of each
  run        tell one or all of them, with and without the defence each is about
  swarm      look for trouble: random worlds and faults, seed after seed
  explore    look for trouble: everything that can happen to two or three clients
  mutants    leave out each defence in turn, and see that it is noticed
  replay     run a stored run again
  shrink     make a failing run as small as it gets
  advise     what to expect of a TTL on your network

Equal seeds give equal runs, on every machine.
` + simExitHelp,
		Example: `  redlock sim run kleppmann-gc-after-win --html story.html
  redlock sim swarm --for 60s
  redlock sim advise --latency 2ms --jitter 20ms --nodes 5 --ttl 10s --holds 3s`,
		Args: noSuchCommand,
		RunE: noCommand,
	}
	cmd.AddCommand(newSimList(), newSimRun(), newSimSwarm(), newSimExplore(), newSimMutants(), newSimReplay(), newSimShrink(), newSimAdvise())
	return cmd
}

func newSimList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the stories that ship",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range sim.Scenarios() {
				fmt.Fprintf(w, "%s\t%v\t%s\n", s.Name, s.Expect, s.Title)
			}
			return w.Flush()
		},
	}
}

func newSimRun() *cobra.Command {
	var all, asJSON bool
	var file string
	var pictures pictureFlags
	cmd := &cobra.Command{
		Use:   "run [NAME]",
		Short: "Tell a story, with and without the defence it is about",
		Long: `run runs the story called NAME, and its twins: the same story without a defence.
With --file it reads one of your own; see docs/safety.md for the language.
` + simExitHelp,
		Example: `  redlock sim run kleppmann-crash-restart
  redlock sim run --all
  redlock sim run vm-suspend --html vm-suspend.html`,
		ValidArgsFunction: completeStories(sim.Scenarios),
		RunE: func(cmd *cobra.Command, args []string) error {
			stories, err := chosenStories(args, all, file)
			if err != nil {
				return err
			}
			if len(stories) > 1 && pictures != (pictureFlags{}) {
				return usageError("--html and --svg are for one story: name it")
			}
			if err := pictures.check(); err != nil {
				return err
			}
			return runStories(cmd.OutOrStdout(), stories, pictures, asJSON)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "run all of them")
	f.StringVar(&file, "file", "", "read the story from `FILE`")
	pictures.add(cmd)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// pictureFlags say where a run is shown.
type pictureFlags struct {
	page, image string
}

func (f *pictureFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.page, "html", "", "write a page with a picture to `FILE`")
	cmd.Flags().StringVar(&f.image, "svg", "", "write the picture alone to `FILE`")
}

func (f *pictureFlags) write(page, image func(io.Writer) error) error {
	var failed error
	if f.page != "" {
		failed = createFile(f.page, page)
	}
	if f.image != "" {
		failed = errors.Join(failed, createFile(f.image, image))
	}
	return failed
}

// check sees to it that the pictures can be written.
func (f *pictureFlags) check() error { return checkFiles(f.page, f.image) }

func chosenStories(args []string, all bool, file string) ([]sim.Scenario, error) {
	stories := sim.Scenarios()
	switch {
	case file != "" && len(args) == 0 && !all:
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usageError("%v", err)
		}
		s, err := sim.ParseScenario(file, string(text))
		if err != nil {
			return nil, usageError("%v", err)
		}
		return []sim.Scenario{s}, nil
	case all && len(args) == 0:
		return stories, nil
	case len(args) != 1:
		return nil, usageError("name one story, or --all: redlock sim list shows them")
	}
	for _, s := range stories {
		if s.Name == args[0] {
			return []sim.Scenario{s}, nil
		}
	}
	return nil, usageError("there is no story %q: redlock sim list shows them", args[0])
}

func runStories(out io.Writer, stories []sim.Scenario, pictures pictureFlags, asJSON bool) error {
	wrong := 0
	var replays []sim.Replay
	var failed error
	for _, s := range stories {
		r := s.Run(true)
		wrong += min(1, len(r.Wrong))
		if asJSON {
			replays = append(replays, r.Report.Replay())
			for i := range r.Twins {
				replays = append(replays, r.Twins[i].Replay())
			}
		} else {
			tellStory(out, &r, len(stories) == 1)
		}
		failed = errors.Join(failed, pictures.write(r.WriteHTML, r.WriteSVG))
	}
	if asJSON {
		failed = errors.Join(failed, printJSON(out, replays))
	} else if len(stories) > 1 {
		fmt.Fprintf(out, "\n%d of %d stories ended as they are told\n", len(stories)-wrong, len(stories))
	}
	if wrong > 0 {
		return withFailure(&exitError{status: exitUnexpected}, failed)
	}
	return failed
}

// tellStory prints a line for a story and each of its twins, and with details
// what led to what broke.
func tellStory(out io.Writer, r *sim.ScenarioResult, details bool) {
	fmt.Fprintf(out, "%-24s %v\n", r.Scenario.Name, r.Report.Verdict)
	if details {
		fmt.Fprintf(out, "\n%s\n\n", fold(r.Scenario.Story, 80))
		tellRun(out, &r.Report)
	}
	for i := range r.Twins {
		twin := &r.Twins[i]
		fmt.Fprintf(out, "  without %-30s %v%s\n", r.Scenario.Twins[i].Without, twin.Verdict, brokenBy(twin))
		if details {
			fmt.Fprintln(out)
			tellRun(out, twin)
		}
	}
	for _, w := range r.Wrong {
		fmt.Fprintf(out, "  NOT AS TOLD: %s\n", w)
	}
}

func brokenBy(r *sim.Report) string {
	var names []string
	for i := range r.Violations {
		names = append(names, r.Violations[i].Invariant.String())
	}
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

// tellRun prints the verdict, what led to it, and the numbers.
func tellRun(out io.Writer, r *sim.Report) {
	fmt.Fprintln(out, fold(r.Headline(), 80))
	if r.Told() {
		for _, n := range r.Story() {
			fmt.Fprintf(out, "  %12s  %-6s %s\n", n.Time(), n.Who, n.Text)
		}
	}
	fmt.Fprintf(out, "%s\n\n", fold(r.Numbers(), 80))
}

// fold breaks a text into lines.
func fold(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column > 0 && column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		case column > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// verdictError ends the program as a run deserves.
func verdictError(r *sim.Report) error {
	v := r.Broken()
	switch {
	case r.Verdict != sim.Violated || v == nil:
		return nil
	case v.Invariant == sim.Liveness:
		return &exitError{status: exitLiveness}
	case v.Invariant == sim.Determinism:
		return &exitError{status: exitNotRepeated}
	}
	return &exitError{status: exitSafety}
}
