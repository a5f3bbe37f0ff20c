package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/quorumlock/redlock"
)

// How long a wait may last before it is worth a word.
const (
	noticeAfter    = time.Second
	logNoticeAfter = 3 * time.Second // where nobody looks on
)

// waitNotice is an Observer that tells people what a long wait is for: once, and
// again when that changes from locks to nodes or back. To a log it tells only of
// waiting for nodes: to wait for a holder is what a job in turn is for.
type waitNotice struct {
	w     io.Writer
	key   string
	toLog bool

	mu    sync.Mutex
	timer redlock.Timer
	due   bool
	last  *redlock.QuorumError // of the last attempt
	told  error                // the sentinel of the last notice
}

func newWaitNotice(w io.Writer, key string, toLog bool) *waitNotice {
	return &waitNotice{w: w, key: key, toLog: toLog}
}

func (n *waitNotice) start() {
	after := noticeAfter
	if n.toLog {
		after = logNoticeAfter
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = redlock.SystemClock().AfterFunc(after, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.due = n.timer != nil
		n.tell()
	})
}

// stop makes sure that no notice comes after what was waited for.
func (n *waitNotice) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer.Stop()
	n.timer, n.due = nil, false
}

// Observe implements redlock.Observer.
func (n *waitNotice) Observe(_ context.Context, e redlock.Event) {
	var q *redlock.QuorumError
	if e.Kind != redlock.EventWaiting || !errors.As(e.Err, &q) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = q
	n.tell()
}

func (n *waitNotice) tell() {
	if !n.due || n.last == nil || n.last.Err == n.told { //nolint:errorlint // the same sentinel
		return
	}
	if n.toLog && !awaitsNodes(n.last) {
		return
	}
	n.told = n.last.Err
	say(n.w, "waiting for %q: %s", n.key, obstacles(n.last))
}

// awaitsNodes says whether an attempt failed for want of nodes that will vote later.
func awaitsNodes(q *redlock.QuorumError) bool {
	return errors.Is(q, redlock.ErrNoQuorum) &&
		slices.ContainsFunc(q.Votes, func(v redlock.NodeVote) bool { return v.Outcome == redlock.Barred })
}

// obstacles says in words what kept an attempt from having a majority.
func obstacles(q *redlock.QuorumError) string {
	var parts []string
	if held := holders(q.Votes); held != "" {
		parts = append(parts, held)
	}
	for _, v := range q.Votes {
		switch {
		case v.Outcome == redlock.Barred:
			parts = append(parts, fmt.Sprintf("node %s %v", v.Node, v.Err))
		case v.Outcome == redlock.Unknown:
			parts = append(parts, fmt.Sprintf("node %s failed: %s", v.Node, nodeError(v.Node, v.Err)))
		}
	}
	if len(parts) == 0 {
		return q.Err.Error()
	}
	return strings.Join(parts, "; ")
}

// inWords is an error in the words of obstacles, if nodes are what it is about.
func inWords(err error) string {
	var q *redlock.QuorumError
	if errors.As(err, &q) {
		return obstacles(q)
	}
	return err.Error()
}

// nodeError is a node's error without the node's name, which stands before it
// already, in people's words.
func nodeError(node string, err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	text := err.Error()
	if i := strings.Index(text, node+": "); i >= 0 {
		return text[i+len(node)+2:]
	}
	return text
}

// holders says who holds the key, and on how many nodes at least: an attempt does not
// wait for answers that cannot make a difference to it.
func holders(votes []redlock.NodeVote) string {
	var owners []string
	nodes, left := make(map[string]int), make(map[string]time.Duration)
	atLeast := ""
	for _, v := range votes {
		if v.Outcome == redlock.Pending || v.Outcome == redlock.Unknown {
			atLeast = "at least "
		}
		if v.Outcome != redlock.Refused || v.Holder == "" {
			continue
		}
		if nodes[v.Holder] == 0 {
			owners = append(owners, v.Holder)
		}
		nodes[v.Holder]++
		left[v.Holder] = max(left[v.Holder], v.Remaining)
	}
	parts := make([]string, len(owners))
	for i, o := range owners {
		parts[i] = fmt.Sprintf("held by %s on %s%d of %d nodes, %s left unless renewed", o, atLeast, nodes[o], len(votes), seconds(left[o]))
	}
	return strings.Join(parts, "; ")
}

// notLocked is the error of a lock that was not had, or not taken away, in the words
// of obstacles.
func notLocked(err error) error {
	exit := classify(err)
	var q *redlock.QuorumError
	if !errors.As(err, &q) {
		return exit
	}
	gaveUp := ""
	if errors.Is(q.Cause, context.DeadlineExceeded) {
		gaveUp = "gave up waiting: "
	}
	if exit.status == exitNoQuorum {
		exit.err = fmt.Errorf("%sno quorum for %q, it takes %d of %d nodes: %s", gaveUp, q.Key, q.Need, len(q.Votes), obstacles(q))
	} else {
		exit.err = fmt.Errorf("%snot acquired: %q is taken: %s", gaveUp, q.Key, obstacles(q))
	}
	return exit
}

// isTerminal says whether a stream of the program is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
