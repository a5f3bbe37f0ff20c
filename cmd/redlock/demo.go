package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/demo"
	"github.com/quorumlock/redlock/nodeurl"
)

// exitCheckFailed is demo's alone: something that it shows did not hold.
const exitCheckFailed = 1

type demoFlags struct {
	nodes    []string
	duration time.Duration
	workers  int
	json     bool
}

func newDemoCommand() *cobra.Command {
	flags := &demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the lock at work, with nothing installed",
		Long: `demo starts five small servers in its own process, which speak the Redis protocol
on loopback ports, and lets six workers contend for one lock on them. Each has
connections of its own, as separate programs would.

  - One worker holds the lock for longer than its TTL: it is renewed.
  - One server is killed meanwhile, and comes back later with its data, as a
    durable server does. The lock goes on.
  - One worker is paused for longer than its lease is valid, as by a garbage
    collection or a suspended virtual machine, and wakes up unaware. Others have
    had the lock by then. It writes to two registers with its stale token: the
    fenced one, which remembers the largest token it has seen, refuses; the
    other lets newer data be overwritten.

The summary at the end says what was checked. On a terminal a table shows the
demo while it runs; NO_COLOR and TERM=dumb are respected.

With --node it runs on your servers, in the same way but that it kills none of
them. It locks a random key that begins with "redlock-demo:" and unlocks it; what
stays is the key's counter of fences: Redis servers keep it, and the others drop it
after days.

Exit status:
  0    every check held
  1    a check failed
  64   bad usage
  69   no quorum: too few of the servers given answer
  70   it could not run
  128+N  signal N ended it, 130 for Ctrl-C; nothing stays locked`,
		Example: `  redlock demo
  redlock demo -n redis://10.0.0.1 -n redis://10.0.0.2 -n redis://10.0.0.3`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("demo takes no arguments: name servers with --node URL")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.nodes, "node", "n", nil, "`URL` of a real server to run on; repeat it for each")
	f.DurationVar(&flags.duration, "duration", demo.DefaultDuration, fmt.Sprintf("run that long, at least %v", demo.MinDuration))
	f.IntVar(&flags.workers, "workers", demo.DefaultWorkers, fmt.Sprintf("how many contend, 2 to %d", demo.MaxWorkers))
	f.BoolVar(&flags.json, "json", false, "print nothing but the summary, as JSON")
	f.SortFlags = false
	return cmd
}

func (f *demoFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	// go-redis logs every failed dial to stderr; that a node is down is ours to
	// tell, and to draw.
	logging.Disable()
	ctx, stop := untilSignal(cmd.Context())
	defer stop()
	out := cmd.OutOrStdout()
	terminal, live := terminalOf(out)
	cfg := demo.Config{Workers: f.workers, Duration: f.duration}
	if len(f.nodes) > 0 {
		cfg.Open = func(ctx context.Context) ([]redlock.Node, func() error, error) {
			return nodeurl.OpenAll(ctx, f.nodes)
		}
	}
	switch {
	case f.json:
	case live:
		cfg.View = demo.NewLiveView(terminal)
	default:
		cfg.View = demo.NewPlainView(out)
	}
	summary, err := demo.Run(ctx, cfg)
	var signalled *signalError
	switch {
	case errors.As(err, &signalled):
		return &exitError{status: signalled.status(), err: err}
	case err != nil:
		return err
	}
	return f.tell(out, summary, terminal.Color)
}

func (f *demoFlags) check() error {
	switch {
	case f.duration < demo.MinDuration:
		return usageError("--duration is %v: that is too short to show it all; use at least %v", f.duration, demo.MinDuration)
	case f.workers < 2 || f.workers > demo.MaxWorkers:
		return usageError("--workers is %d: use 2 to %d", f.workers, demo.MaxWorkers)
	}
	return nil
}

func (f *demoFlags) tell(out io.Writer, s demo.Summary, color bool) error {
	var err error
	if f.json {
		err = printJSON(out, s)
	} else {
		err = s.WriteText(out, color)
	}
	if err == nil && !s.OK {
		err = &exitError{status: exitCheckFailed}
	}
	return err
}

// terminalOf describes the terminal that out is, and reports whether it is one
// that can be drawn on.
func terminalOf(out io.Writer) (t demo.Terminal, live bool) {
	file, ok := direct(out).(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return t, false
	}
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" {
		return t, false
	}
	t.Out, t.Color = out, os.Getenv("NO_COLOR") == ""
	t.Size = func() (width, height int) {
		width, height, err := term.GetSize(int(file.Fd()))
		if err != nil {
			return 80, 24
		}
		return width, height
	}
	return t, true
}
