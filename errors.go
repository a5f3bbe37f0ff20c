package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The sentinels say what a caller does next. Test for them with errors.Is.
var (
	// ErrNotAcquired: others hold the key. Returned by TryLock, and by Lock
	// when its context ended while it waited for them, or for other callers of its
	// own process. Try again later.
	ErrNotAcquired = errors.New("not acquired")

	// ErrNoQuorum: too many nodes failed, or may not vote yet, for any majority
	// to agree; or none had said that others hold the key when the caller's context
	// ended. Returned by every operation. Raise an alarm.
	ErrNoQuorum = errors.New("no quorum")

	// ErrLost: the lease ended before it was released. It is the cause of the
	// lease's context, and returned by Lease.Err, Extend, Unlock and Locker.Do.
	// Stop the work.
	ErrLost = errors.New("lease lost")

	// ErrNotHeld: nobody held the key. Returned by Locker.ForceUnlock.
	ErrNotHeld = errors.New("not held")

	// ErrReleased: the lease was given up by Unlock. It is the cause of the
	// lease's context then, and returned by Lease.Err and Extend.
	ErrReleased = errors.New("lease released")

	// ErrClosed: the Locker was closed. Returned by every operation that begins
	// then, and of a lease that Close ended where ErrLost is of a lost one. Stop
	// the work.
	ErrClosed = errors.New("locker closed")
)

// QuorumError tells how each node voted in an operation that failed. All errors
// that come of votes are of this type, always as a pointer.
//
// It unwraps to one of the sentinels and, if the caller's context ended the
// operation, to that context's error. It does not unwrap to the nodes' errors: a
// node's timeout is not the caller's. Those are in Votes.
type QuorumError struct {
	Op    string     // "lock", "extend", "unlock", "inspect" or "force unlock"
	Key   string     // what was to be locked
	Need  int        // votes needed
	Votes []NodeVote // in the order of the Locker's nodes; none if a Lock ended before it was its turn to ask them
	Err   error      // the sentinel
	Cause error      // the caller's context error, when that ended the operation
}

// NodeVote is one node's part in an operation.
type NodeVote struct {
	Node    string
	Outcome Outcome
	Err     error         // why the outcome is Unknown or Barred
	Latency time.Duration // until the answer, or until it was given up

	// Of a refusal, as in Vote.
	Holder    string
	Remaining time.Duration
}

// Outcome is what came of a request to one node.
type Outcome uint8

// The outcomes of a request.
const (
	Pending Outcome = iota // no answer before the operation was decided
	Granted                // yes
	Refused                // no: another owner holds the key, or the grant no longer stands
	Unknown                // an error or a timeout: it may have been granted
	Barred                 // answered, but the node may not vote: it has just restarted, its clock leapt, or it is another node's alias
)

func (o Outcome) String() string {
	switch o {
	case Granted:
		return "granted"
	case Refused:
		return "refused"
	case Unknown:
		return "unknown"
	case Barred:
		return "barred"
	}
	return "pending"
}

// Error gives the count of votes and, for each node that did not grant, why.
func (e *QuorumError) Error() string {
	var b strings.Builder
	granted := 0
	for _, v := range e.Votes {
		if v.Outcome == Granted {
			granted++
		}
	}
	fmt.Fprintf(&b, "redlock: %s %q: ", e.Op, e.Key)
	if len(e.Votes) == 0 {
		b.WriteString("no node was asked, as callers of this process came first")
	} else {
		fmt.Fprintf(&b, "%d of %d votes, need %d", granted, len(e.Votes), e.Need)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	separator := " ("
	for _, v := range e.Votes {
		if v.Outcome == Granted {
			continue
		}
		fmt.Fprintf(&b, "%s%s", separator, v.Node)
		switch {
		case v.Err != nil:
			fmt.Fprintf(&b, ": %v", v.Err)
		case v.Outcome == Refused && v.Holder != "":
			fmt.Fprintf(&b, ": held by %s for %v", v.Holder, v.Remaining.Round(time.Millisecond))
		default:
			fmt.Fprintf(&b, ": %v", v.Outcome)
		}
		separator = "; "
	}
	if separator != " (" {
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap gives the sentinel and the caller's context error.
func (e *QuorumError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Cause}
}

// endedBy is the error of a context that ended, with the caller's own cause.
func endedBy(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, err):
		return cause // it says both
	}
	return fmt.Errorf("%w: %w", err, cause)
}
