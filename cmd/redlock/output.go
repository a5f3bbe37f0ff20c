package main

import (
	"errors"
	"io"
	"sync"
)

// standardOutput is the standard output. It remembers what could not be written, so that
// nobody takes what is there for all there was, whichever command wrote it.
type standardOutput struct {
	to io.Writer

	mu     sync.Mutex
	failed error // the first failure
}

func (o *standardOutput) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.failed == nil {
			o.failed = err
		}
	}
	return n, err
}

// join adds what could not be written to how a command ended, unless it said so
// itself.
func (o *standardOutput) join(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil || errors.Is(err, o.failed) {
		return err
	}
	return withFailure(err, o.failed)
}

// direct is where a writer's bytes go: what a terminal or a child has to be given.
func direct(w io.Writer) io.Writer {
	if o, is := w.(*standardOutput); is {
		return o.to
	}
	return w
}
