//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Signals that would end redlock: they end the wait for a lock, and are
// forwarded to the command later.
var endings = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
}

// Signals that matter only while the command runs.
var whileRunning = []os.Signal{unix.SIGWINCH, unix.SIGCONT, unix.SIGTSTP}

// signals are those sent to redlock.
type signals struct {
	all chan os.Signal
	// A write to a closed stderr must not end redlock before it has ended the
	// command. Caught and not ignored, since the command would inherit that.
	pipe chan os.Signal
}

// catchSignals begins to catch what would end the program. What its parent had
// ignored, as nohup does, stays so.
func catchSignals() *signals {
	s := &signals{all: make(chan os.Signal, 64), pipe: make(chan os.Signal, 1)}
	signal.Notify(s.pipe, unix.SIGPIPE)
	s.add(endings)
	return s
}

func (s *signals) add(list []os.Signal) {
	for _, sig := range list {
		if !signal.Ignored(sig) {
			signal.Notify(s.all, sig)
		}
	}
}

func (s *signals) stop() {
	signal.Stop(s.all)
	signal.Stop(s.pipe)
}

// interrupt gives a context that a signal ends, and what stops it listening and
// says with which exit status the program shall end, 0 if no signal came.
func (s *signals) interrupt(ctx context.Context) (context.Context, func() int) {
	ctx, cancel := context.WithCancel(ctx)
	quit, status := make(chan struct{}), make(chan int, 1)
	go func() {
		select {
		case sig := <-s.all:
			cancel()
			status <- exitSignal + int(sig.(unix.Signal))
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
