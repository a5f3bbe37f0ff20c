package server

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
)

// Process is one run of a program that ends when this process does, where the
// system can see to that (Linux).
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and its output is complete
}

// StartProcess starts a command, whose output the caller has set.
//
// Where the kernel kills a child along with its parent (Linux), it means the
// thread that started the child, and Go ends idle threads as it likes. So the
// child has a goroutine locked to a thread of its own, which lives as long as
// the child does.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in its output and its state
		close(p.done)
	}()
	return p, <-started
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status is the exit status of a process that has ended, -1 if a signal ended it.
func (p *Process) Status() int { return p.cmd.ProcessState.ExitCode() }

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash would, also one that is frozen, and waits until
// it is gone.
func (p *Process) Kill() {
	if p.alive() {
		_ = resume(p.cmd.Process)
		_ = p.cmd.Process.Kill()
	}
	<-p.done
}

// Freeze stops the process (SIGSTOP), and returns once all of it stands.
func (p *Process) Freeze() error {
	if err := freeze(p.cmd.Process); err != nil {
		return err
	}
	awaitStop(p.PID())
	return nil
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw() error { return resume(p.cmd.Process) }

func (p *Process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// process is one run of a server's program, with what it printed.
type process struct {
	*Process
	out output
}

// startServer runs a server's program, with additions to the environment.
func startServer(env []string, path string, args ...string) (*process, error) {
	p := &process{}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	var err error
	p.Process, err = StartProcess(cmd)
	return p, err
}

// waitFor waits until the output contains text. It reports false if the process
// or the context ends first.
func (p *process) waitFor(ctx context.Context, text string) bool {
	for {
		seen, more := p.out.look(text)
		if seen {
			return true
		}
		select {
		case <-more:
		case <-p.done:
			seen, _ = p.out.look(text)
			return seen
		case <-ctx.Done():
			return false
		}
	}
}

// output collects what a process prints and tells when there is more.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{}
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
	return o.buf.Write(b)
}

// look reports whether text was printed, and gives a channel that is closed when
// more is.
func (o *output) look(text string) (bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return strings.Contains(o.buf.String(), text), o.more
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
