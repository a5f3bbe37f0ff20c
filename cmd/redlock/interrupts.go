package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// interrupts are the signals by which people and their terminals end a program that
// has something to clean up.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}

// catchInterrupts has the interrupts sent to a channel. What the parent had ignored,
// as nohup does, stays so.
func catchInterrupts(c chan<- os.Signal) {
	for _, s := range interrupts {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// signalError is why a context ended that an interrupt ends.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return e.signal.String() }

func (e *signalError) status() int {
	if n, ok := e.signal.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitInternal
}

// interrupted is the error of what an interrupt has ended, or nil if ctx goes on or
// has ended otherwise.
func interrupted(ctx context.Context, text string) error {
	var signalled *signalError
	if !errors.As(context.Cause(ctx), &signalled) {
		return nil
	}
	return &exitError{status: signalled.status(), err: errors.New("interrupted; " + text)}
}

// untilSignal gives a context that ends at an interrupt or a request to end. The
// function it returns makes the signals deadly again.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	catchInterrupts(signals)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			cancel(&signalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		<-ended
	}
}

// interruptedTwice gives a context that a first interrupt ends, as enough, and one
// that a second one does.
func interruptedTwice(ctx context.Context, out io.Writer) (all, enough context.Context, stop func()) {
	all, endAll := context.WithCancelCause(ctx)
	enough, endFirst := context.WithCancelCause(all)
	signals := make(chan os.Signal, 2)
	catchInterrupts(signals)
	go func() {
		for {
			select {
			case s := <-signals:
				if enough.Err() != nil {
					endAll(&signalError{s})
					return
				}
				say(out, "interrupted: ending the faults, and judging what happened; interrupt again to end at once")
				endFirst(&signalError{s})
			case <-all.Done():
				return
			}
		}
	}()
	return all, enough, func() {
		signal.Stop(signals)
		endAll(nil)
	}
}
