package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/demo"
	"github.com/quorumlock/redlock/internal/quorumbench"
)

// benchFlags are the bounds of a run, and where its report goes.
type benchFlags struct {
	settings    *settings
	duration    time.Duration
	count       int
	concurrency int
	keys        int
	prefix      string
	json        bool
	html        string
}

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a lock costs on your nodes",
		Long: `bench locks and unlocks on the nodes, and shows how long that takes: percentiles
of Lock and Unlock, a histogram, and for each node how fast it answers, how often
it is the one that makes a majority full, and how often it is the last. It shows
what a lock saves by not waiting for all nodes, and what it would take with the
fastest node gone, and advises on --ttl and --node-timeout by that.

Each worker (--concurrency) locks one key after the other, and holds none. The
run ends after --for, or after --count locks if that is first. The keys, --keys of
them, begin with --prefix and a random name; with fewer keys than workers, workers
wait for each other. It costs the nodes what such a load costs: on servers that
others need, begin with one worker.

It cleans up after itself, also when it is interrupted, and looks whether it did.
What stays is the counters of fences: Redis servers keep them, and the others drop
them after days.

` + settingsHint + `
Exit status:
  0    measured, and nothing is left locked
  64   bad usage or configuration
  69   no quorum: a lock was not to be had, or not even the first; or a node did
       not answer at the end, and a lock that may be left there is free after --ttl
  70   a lock was left on a node, and is free after --ttl; or the report cannot be
       written
  128+N  signal N ended it, 130 for Ctrl-C; what was measured so far is shown`,
		Example: `  redlock bench -n redis://10.0.0.1 -n redis://10.0.0.2 -n redis://10.0.0.3
  redlock bench --for 1m --concurrency 64 --html bench.html
  redlock bench --json | jq .lock.p99_ms`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("bench takes no arguments: name the nodes with --node URL")
			}
			return nil
		},
	}
	b := &benchFlags{settings: addFlags(cmd)}
	b.settings.addVerbose(cmd)
	f := cmd.Flags()
	f.DurationVar(&b.duration, "for", 5*time.Second, "measure for that long at most")
	f.IntVar(&b.count, "count", 0, "at most so many locks (default no limit)")
	f.IntVar(&b.concurrency, "concurrency", 1, fmt.Sprintf("so many workers at the same time, 1 to %d", quorumbench.MaxConcurrency))
	f.IntVar(&b.keys, "keys", 0, fmt.Sprintf("so many different keys, 1 to %d (default one a worker)", quorumbench.MaxKeys))
	f.StringVar(&b.prefix, "prefix", "redlock-bench", "keys begin with that, and a random name")
	f.BoolVar(&b.json, "json", false, "print JSON")
	f.StringVar(&b.html, "html", "", "write a page with plots to `FILE`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return b.run(cmd) }
	return cmd
}

func (f *benchFlags) run(cmd *cobra.Command) error {
	if err := f.settings.resolve(cmd); err != nil {
		return err
	}
	cfg, err := f.config(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := checkFiles(f.html); err != nil {
		return err
	}
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	bench := quorumbench.New(cfg)
	sess, err := f.settings.open(cmd, bench)
	if err != nil {
		return err
	}
	defer sess.close()
	report, err := bench.Run(ctx, sess.locker, sess.nodes)
	if err != nil {
		return benchError(ctx, err)
	}
	return withFailure(benchVerdict(ctx, report), f.tell(cmd.OutOrStdout(), report))
}

// config is what the flags ask for, with a random name in the keys: nobody else's
// lock shall be in the way, nor be hindered.
func (f *benchFlags) config(stderr io.Writer) (quorumbench.Config, error) {
	if f.prefix == "" {
		return quorumbench.Config{}, usageError("--prefix is empty: name something that nobody else's keys begin with")
	}
	if f.keys == 0 {
		f.keys = min(f.concurrency, quorumbench.MaxKeys)
	}
	name := make([]byte, 6)
	if _, err := rand.Read(name); err != nil {
		return quorumbench.Config{}, err
	}
	cfg := quorumbench.Config{
		Clock:       redlock.SystemClock(),
		TTL:         f.settings.ttl,
		NodeTimeout: f.settings.nodeTimeout,
		For:         f.duration,
		Count:       f.count,
		Concurrency: f.concurrency,
		Keys:        f.keys,
		Prefix:      f.prefix + ":" + hex.EncodeToString(name),
	}
	if terminal, live := terminalOf(stderr); live {
		cfg.Progress = quorumbench.NewProgressBar(stderr, columns(terminal)).Draw
	}
	if err := cfg.Check(); err != nil {
		return cfg, usageError("%w", err)
	}
	return cfg, nil
}

func (f *benchFlags) tell(out io.Writer, report *quorumbench.Report) error {
	failed := f.print(out, report)
	if f.html != "" {
		failed = errors.Join(failed, createFile(f.html, func(page io.Writer) error {
			return report.WriteHTML(page, redlock.SystemClock().Wall(), f.command(report))
		}))
	}
	return failed
}

func (f *benchFlags) print(out io.Writer, report *quorumbench.Report) error {
	if f.json {
		return printJSON(out, report)
	}
	width := plainColumns
	if terminal, live := terminalOf(out); live {
		width = columns(terminal)
	}
	return report.WriteText(out, width)
}

// plainColumns is the width of what is no terminal, or does not tell.
const plainColumns = 80

func columns(t demo.Terminal) int {
	if width, _ := t.Size(); width > 0 {
		return width
	}
	return plainColumns
}

// command is how to measure the same again, wherever the settings came from. It leaves
// out the nodes: their URLs may hold passwords.
func (f *benchFlags) command(report *quorumbench.Report) string {
	text := fmt.Sprintf("redlock bench --for %v --concurrency %d --keys %d", f.duration, f.concurrency, f.keys)
	if f.count > 0 {
		text += fmt.Sprintf(" --count %d", f.count)
	}
	return text + fmt.Sprintf(" --ttl %v --max-ttl %v --node-timeout %v --prefix %s",
		f.settings.ttl, f.settings.maxTTL, time.Duration(report.NodeTimeout), shellWord(f.prefix))
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// shellWord writes a word so that a shell reads it as one.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// benchError is about a run that had no lock to measure.
func benchError(ctx context.Context, err error) error {
	var signalled *signalError
	if errors.As(context.Cause(ctx), &signalled) {
		return &exitError{status: signalled.status()}
	}
	return notLocked(err)
}

func benchVerdict(ctx context.Context, report *quorumbench.Report) error {
	var signalled *signalError
	switch {
	case errors.As(context.Cause(ctx), &signalled):
		return &exitError{status: signalled.status()}
	case report.LeftLocked > 0:
		return &exitError{status: exitInternal}
	case report.Failed > 0 || report.LeftUnknown > 0:
		return &exitError{status: exitNoQuorum}
	}
	return nil
}
