package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
)

// runner is what the flags of "redlock run" say.
type runner struct {
	settings *settings
	wait     time.Duration
	try      bool
	grace    time.Duration
}

func newRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [flags] KEY -- COMMAND [ARGS...]",
		Short: "Run a command while holding a lock",
		Long: `run takes the lock KEY, runs COMMAND while it holds it, and releases it. It waits
for the lock for as long as others hold it; --wait bounds that, and --try does not
wait at all. It does not wait out an outage: if too few nodes answer it soon ends
with status 69. Nodes that may not vote yet are waited for as well: a server that
keeps its data in memory votes only --max-ttl after its start, and so with a long
--ttl only that long after it ("redlock nodes --help" says why).

COMMAND has stdin, stdout and stderr to itself, and in its environment:
  REDLOCK_KEY     KEY
  REDLOCK_TOKEN   the fencing token: every later holder has a larger number. Have
                  what COMMAND writes to refuse smaller numbers than it has seen.
  REDLOCK_OWNER   the random id under which the nodes know this holder

COMMAND runs in a process group of its own. Signals sent to redlock reach that
group, and the terminal's keys work as without redlock. A job that is stopped
(Ctrl-Z) does not renew its lock, and is ended when it goes on too late.

The lock is renewed while COMMAND runs. If too few nodes renew it in time it is
lost, and others may take it: the group gets SIGTERM, and after --grace SIGKILL.
On Linux COMMAND is also killed if redlock itself is; what it has started is not.
What COMMAND leaves in the background is not waited for when it ends.

` + settingsHint + `
Exit status: COMMAND's own, or 128+N if signal N ended it, or
  64   bad usage or configuration
  69   no quorum: too few nodes answer, or with --try or at the end of --wait too
       few may vote yet (see "redlock nodes")
  70   an internal error
  75   not acquired: others hold the lock
  76   the lock was lost while COMMAND ran, and COMMAND was ended
  126  COMMAND cannot be executed
  127  COMMAND was not found; the lock was not taken then
  128+N  signal N ended the wait for the lock`,
		Example: `  # One at a time, in turn.
  redlock run nightly-backup -- /usr/local/bin/backup --full

  # From cron on every machine: whoever is first does it, the others do nothing.
  redlock run --try cleanup -- ./cleanup.sh || [ $? -eq 75 ]

  # At most a minute of waiting, at most an hour of holding.
  redlock run --wait 1m --max-hold 1h deploy -- make deploy`,
		Args: runArgs,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError("%w; COMMAND and its own flags come after KEY --", err)
	})
	r := &runner{settings: addFlags(cmd)}
	r.settings.addVerbose(cmd)
	f := cmd.Flags()
	f.DurationVar(&r.wait, "wait", 0, "give up after waiting that long for the lock (default: wait for ever)")
	f.BoolVar(&r.try, "try", false, "do not wait for the lock")
	f.DurationVar(&r.grace, "grace", 5*time.Second, "from SIGTERM to SIGKILL after the lock was lost")
	f.DurationVar(&r.settings.maxHold, "max-hold", 0, "lose the lock after that long, renewed or not; at least twice --node-timeout")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := r.check(cmd); err != nil {
			return err
		}
		return r.run(cmd, args[0], args[1:])
	}
	return cmd
}

func runArgs(cmd *cobra.Command, args []string) error {
	switch dash := cmd.ArgsLenAtDash(); {
	case len(args) == 0 || dash == 0:
		return usageError("no KEY given")
	case dash < 0:
		return usageError("write -- between KEY and COMMAND")
	case dash > 1:
		return usageError("one KEY before the --, please, not %d", dash)
	case len(args) == 1:
		return usageError("no COMMAND given after the --")
	}
	return checkKey(args[0])
}

func (r *runner) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	switch {
	case r.try && changed("wait"):
		return usageError("--try and --wait exclude each other")
	case changed("wait") && r.wait <= 0:
		return usageError("--wait is %v: it must be above zero; --try does not wait", r.wait)
	case r.grace < 0:
		return usageError("--grace is %v: it must not be negative", r.grace)
	case changed("max-hold") && r.settings.maxHold <= 0:
		return usageError("--max-hold is %v: it must be above zero", r.settings.maxHold)
	}
	return nil
}

// run looks the command up before it asks for the lock: nobody shall wait for a
// misspelling.
func (r *runner) run(cmd *cobra.Command, key string, argv []string) error {
	path, err := lookUp(argv[0])
	if err != nil {
		return err
	}
	notice := newWaitNotice(cmd.ErrOrStderr(), key, !r.settings.verbose && !isTerminal(cmd.ErrOrStderr()))
	sess, err := r.settings.open(cmd, notice)
	if err != nil {
		return err
	}
	defer sess.close()
	signals := catchSignals()
	defer signals.stop()
	notice.start()
	lease, err := r.acquire(cmd.Context(), sess.locker, key, signals)
	notice.stop()
	if err != nil {
		return err
	}

	job, err := startJob(child(cmd, path, argv, lease), signals, func() bool { return lease.Err() == nil })
	if err != nil {
		r.release(cmd, lease)
		return &exitError{status: exitCannotRun, err: fmt.Errorf("cannot run %s: %w", argv[0], err)}
	}
	h := &holding{lease: lease, job: job, grace: r.grace, stderr: cmd.ErrOrStderr()}
	status, lost := h.wait()
	if lost {
		return &exitError{status: exitLost}
	}
	r.release(cmd, lease)
	if status != 0 {
		return &exitError{status: status}
	}
	return nil
}

// acquire takes the lock, until a signal comes in.
func (r *runner) acquire(ctx context.Context, locker *redlock.Locker, key string, signals *signals) (*redlock.Lease, error) {
	ctx, interrupted := signals.interrupt(ctx)
	lock := locker.Lock
	if r.try {
		lock = locker.TryLock
	}
	waiting := ctx
	if r.wait > 0 {
		var cancel context.CancelFunc
		waiting, cancel = redlock.SystemClock().WithTimeout(ctx, r.wait)
		defer cancel()
	}
	lease, err := lock(waiting, key)
	if status := interrupted(); status != 0 {
		if lease != nil {
			_ = lease.Unlock(context.WithoutCancel(ctx)) // the nodes free it by themselves if this fails
		}
		return nil, &exitError{status: status}
	}
	if err != nil {
		return nil, notLocked(err)
	}
	return lease, nil
}

// release gives the lock back. The work is done, so a failure is a warning.
func (r *runner) release(cmd *cobra.Command, lease *redlock.Lease) {
	if err := lease.Unlock(context.WithoutCancel(cmd.Context())); err != nil {
		say(cmd.ErrOrStderr(), "warning: not confirmed that the lock is released; the nodes free it after its TTL, %v, at the latest: %s", r.settings.ttl, inWords(err))
	}
}

// lookUp finds the command's file as a shell would.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", &exitError{status: exitNotFound, err: fmt.Errorf("%s: command not found", name)}
	}
	return "", &exitError{status: exitCannotRun, err: fmt.Errorf("cannot run %s: %w", name, err)}
}

func child(cmd *cobra.Command, path string, argv []string, lease *redlock.Lease) *exec.Cmd {
	return &exec.Cmd{
		Path: path,
		Args: argv,
		Env: append(os.Environ(),
			"REDLOCK_KEY="+lease.Key(),
			"REDLOCK_TOKEN="+strconv.FormatUint(lease.Token(), 10),
			"REDLOCK_OWNER="+lease.Owner()),
		Stdin:  cmd.InOrStdin(),
		Stdout: direct(cmd.OutOrStdout()),
		Stderr: cmd.ErrOrStderr(),
	}
}

// holding is a command that runs under a lease.
type holding struct {
	lease  *redlock.Lease
	job    *job
	grace  time.Duration
	stderr io.Writer
}

// wait sees the command to its end and gives its exit status, or says that the
// lease was lost, after bringing that end about. A command that ended too late to
// be told has worked without the lock all the same.
func (h *holding) wait() (status int, lost bool) {
	defer h.job.close()
	for {
		ended := false
		select {
		case <-h.lease.Done():
		case sig := <-h.job.signals.all:
			h.job.forward(sig)
		case change := <-h.job.changes:
			status, ended = h.job.handle(change)
		case <-h.job.resumed:
			h.job.resume()
		}
		if err := h.lease.Err(); errors.Is(err, redlock.ErrLost) {
			say(h.stderr, "%v; others may hold the lock now, so the command is ended", err)
			h.end(ended)
			return 0, true
		}
		if ended {
			return status, false
		}
	}
}

// groupPoll is how often a group is looked at whose leader has ended.
const groupPoll = 20 * time.Millisecond

// end ends the whole group, whose leader may have ended already: nothing of it
// may work on without the lock.
func (h *holding) end(leaderEnded bool) {
	if h.grace > 0 {
		h.job.terminate()
	} else {
		h.job.kill()
	}
	overdue, killed := after(h.grace), false
	for !leaderEnded || h.job.groupLeft() {
		var poll <-chan struct{}
		if leaderEnded {
			poll = after(groupPoll)
		}
		select {
		case change := <-h.job.changes:
			_, leaderEnded = h.job.handle(change)
		case <-overdue:
			h.job.kill()
			overdue, killed = nil, true
		case <-poll:
			if killed {
				return // what is left is dead and waits for others to reap it
			}
		}
	}
}

// after is a channel that is closed once d has passed.
func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	redlock.SystemClock().AfterFunc(d, func() { close(done) })
	return done
}
