//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
)

// signals are the interrupts sent to redlock.
type signals struct{ all chan os.Signal }

func catchSignals() *signals {
	s := &signals{all: make(chan os.Signal, 8)}
	signal.Notify(s.all, os.Interrupt)
	return s
}

func (s *signals) stop() { signal.Stop(s.all) }

// interrupt gives a context that a signal ends, and what stops it listening and
// says with which exit status the program shall end, 0 if no signal came.
func (s *signals) interrupt(ctx context.Context) (context.Context, func() int) {
	ctx, cancel := context.WithCancel(ctx)
	quit, status := make(chan struct{}), make(chan int, 1)
	go func() {
		select {
		case <-s.all:
			cancel()
			status <- exitSignal + 2 // SIGINT
		case <-quit:
			status <- 0
		}
	}()
	return ctx, func() int {
		close(quit)
		got := <-status
		cancel()
		return got
	}
}

// job is the command where there are no process groups: one process, which gets
// the console's interrupts by itself and can only be killed.
type job struct {
	signals *signals
	changes chan *os.ProcessState
	resumed chan struct{}
	cmd     *exec.Cmd
}

func startJob(cmd *exec.Cmd, s *signals, _ func() bool) (*job, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j := &job{signals: s, changes: make(chan *os.ProcessState, 1), cmd: cmd}
	go func() {
		_ = cmd.Wait() // how it ended is in its state
		j.changes <- cmd.ProcessState
	}()
	return j, nil
}

func (j *job) handle(state *os.ProcessState) (exit int, ended bool) {
	if code := state.ExitCode(); code >= 0 {
		return code, true
	}
	return exitInternal, true
}

func (j *job) forward(os.Signal) {}
func (j *job) resume()           {}
func (j *job) terminate()        { j.kill() }
func (j *job) kill()             { _ = j.cmd.Process.Kill() }
func (j *job) groupLeft() bool   { return false }
func (j *job) close()            {}
