package testserver

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

// process is one run of a server's program.
type process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed once it has ended and its output is complete
}

// startProcess runs a program until it ends or is killed.
//
// Where the kernel kills a child along with its parent (Linux), it means the
// thread that started the child, and Go ends idle threads as it likes. So the
// child has a goroutine locked to a thread of its own, which lives as long as
// the child does.
func startProcess(path string, args ...string) (*process, error) {
	return startProcessIn(nil, path, args...)
}

// startProcessIn is startProcess with additions to the environment.
func startProcessIn(env []string, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // how it ended is in its output
		close(p.done)
	}()
	return p, <-started
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process as a crash would, also one that is frozen, and waits
// until it is gone.
func (p *process) kill() {
	if p.alive() {
		_ = resume(p.cmd.Process)
		_ = p.cmd.Process.Kill()
	}
	<-p.done
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
