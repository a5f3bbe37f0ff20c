package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/quorumlock/redlock"
)

// The exit statuses of redlock itself. Those from 64 are what sysexits.h means
// by them, as far as it goes; 126 and 127 are a shell's. "redlock run" otherwise
// ends with its command's own status, or 128+N if signal N ended that.
const (
	exitNotHeld     = 1   // unlock: nobody held the key
	exitUsage       = 64  // EX_USAGE: bad arguments or configuration
	exitNoQuorum    = 69  // EX_UNAVAILABLE: too few nodes vote
	exitInternal    = 70  // EX_SOFTWARE: none of the others
	exitNotAcquired = 75  // EX_TEMPFAIL: others hold the key
	exitLost        = 76  // the lock was lost while the command ran
	exitCannotRun   = 126 // the command cannot be executed
	exitNotFound    = 127 // there is no such command
	exitSignal      = 128 // and the number of the signal
)

const exitHelp = `
Exit status:
  64   bad usage or configuration
  69   no quorum: too few nodes answer, or may vote yet
  70   an internal error
Commands add their own; see their help.`

// exitError ends the program with a status, and a message unless err is nil.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError is a mistake of the user's, who is pointed to the help.
func usageError(format string, args ...any) error {
	return &exitError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// classify gives an error of the library its exit status.
func classify(err error) *exitError {
	status := exitInternal
	switch {
	case errors.Is(err, redlock.ErrNotHeld):
		status = exitNotHeld
	case errors.Is(err, redlock.ErrLost):
		status = exitLost
	case errors.Is(err, redlock.ErrNoQuorum):
		status = exitNoQuorum
	case errors.Is(err, redlock.ErrNotAcquired), errors.Is(err, context.DeadlineExceeded):
		status = exitNotAcquired
	}
	return &exitError{status: status, err: err}
}

// say prints one message of redlock's own. Errors of the library have the
// program's name in front already.
func say(w io.Writer, format string, args ...any) {
	message := strings.TrimPrefix(fmt.Sprintf(format, args...), "redlock: ")
	fmt.Fprintf(w, "redlock: %s\n", message)
}
