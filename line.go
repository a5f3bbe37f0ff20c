package redlock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// lines are where a Locker's callers stand who want the same key: one of them
// asks the nodes or holds the lock, the others wait in the order they came.
type lines struct {
	mu        sync.Mutex
	of        map[string]*line            // by key, the first of those with different options
	contended map[string]protocol.Instant // when other processes were last seen to want a key
	turns     sync.Pool                   // that nobody waits with; not all Lockers', for a test's may be in a bubble of its own
}

// line is one line. Whoever is at its head leaves it with leave. A lease is passed
// on only to a caller who would have got the same, so callers with other options
// stand in another line.
type line struct {
	options *LockOptions
	next    *line            // of the same key, with other options
	first   *turn            // of those who wait, in a ring
	shared  bool             // somebody ever waited in it
	from    protocol.Instant // whoever is at its head asks no node before
	outage  protocol.Instant // since when its heads find no quorum, for the next of them; zero if they do
}

// turn is a caller in a line. It is told once: of a lease that was passed on to
// it, or by nil that it is at the head now and has to ask the nodes itself.
type turn struct {
	told       chan *Lease
	prev, next *turn // who came before and after, in the line's ring; nil once it is told
}

func newLines() *lines {
	return &lines{
		of:        make(map[string]*line),
		contended: make(map[string]protocol.Instant),
		turns:     sync.Pool{New: func() any { return &turn{told: make(chan *Lease, 1)} }},
	}
}

// join gives the line, and a turn to wait for unless the caller is at its head.
func (ls *lines) join(key string, options *LockOptions) (*line, *turn) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	first := ls.of[key]
	ln := first
	for ln != nil && *ln.options != *options {
		ln = ln.next
	}
	if ln == nil {
		ln = &line{options: options, next: first}
		ls.of[key] = ln
		return ln, nil
	}
	t := ls.turns.Get().(*turn)
	ln.push(t)
	ln.shared = true
	return ln, t
}

// leave makes way for the next in the line, who shall not ask the nodes before the
// given instant.
func (ls *lines) leave(key string, ln *line, from protocol.Instant) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln.first == nil {
		ls.remove(key, ln)
		return
	}
	ln.from = max(ln.from, from)
	ln.pop().told <- nil
}

// stay is leave where the caller itself is the next.
func (ls *lines) stay(ln *line, from protocol.Instant) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ln.from = max(ln.from, from)
}

func (ls *lines) remove(key string, ln *line) {
	first := ls.of[key]
	switch {
	case first != ln:
		for first.next != ln {
			first = first.next
		}
		first.next = ln.next
	case ln.next != nil:
		ls.of[key] = ln.next
	default:
		delete(ls.of, key)
	}
}

// pass has the next in the line told of the lease that take gives, unless nobody
// waits or take gives none.
func (ls *lines) pass(ln *line, take func() *Lease) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln.first == nil {
		return false
	}
	lease := take()
	if lease == nil {
		return false
	}
	ln.pop().told <- lease
	return true
}

func (ln *line) push(t *turn) {
	if ln.first == nil {
		ln.first, t.prev, t.next = t, t, t
		return
	}
	first, last := ln.first, ln.first.prev
	t.prev, t.next = last, first
	last.next, first.prev = t, t
}

func (ln *line) pop() *turn {
	t := ln.first
	ln.remove(t)
	return t
}

func (ln *line) remove(t *turn) {
	switch {
	case t.next == t:
		ln.first = nil
	case ln.first == t:
		ln.first = t.next
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// giveUp takes a turn out of its line, however long that is: callers may give up
// by the thousand at once. If it has been told already it reports false.
func (ls *lines) giveUp(ln *line, t *turn) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if t.next == nil {
		return false
	}
	ln.remove(t)
	return true
}

// isShared reports whether more callers than one ever stood in the line.
func (ls *lines) isShared(ln *line) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ln.shared
}

const (
	// contendedFor is how long a key counts as wanted by other processes after it
	// was seen to be.
	contendedFor = time.Second

	// maxContended bounds the keys that are remembered for it.
	maxContended = 4096
)

func (ls *lines) noteContended(key string, now protocol.Instant) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.contended) >= maxContended {
		clear(ls.contended)
	}
	ls.contended[key] = now
}

func (ls *lines) isContended(key string, now protocol.Instant) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	at, known := ls.contended[key]
	if known && now.Sub(at) > contendedFor {
		delete(ls.contended, key)
		return false
	}
	return known
}

// standInLine waits until the caller is at the head of the key's line, or until a
// lease is passed on to it.
func (l *Locker) standInLine(ctx context.Context, key string, called time.Duration) (*line, *Lease, error) {
	lines := l.group.lines
	for {
		ln, t := lines.join(key, &l.own)
		if t == nil {
			return ln, nil, nil
		}
		joined := l.group.now()
		var lease *Lease
		var err error
		select {
		case lease = <-t.told:
		case <-l.group.closing:
			err = fmt.Errorf("redlock: %w", ErrClosed)
		case <-ctx.Done():
			err = endedWaiting(ctx, l.notAsked(key))
		}
		if err != nil {
			l.stepOut(key, ln, t)
			lines.turns.Put(t)
			return nil, nil, err
		}
		lines.turns.Put(t)
		if lease == nil {
			ln.outage = protocol.OutageSince(ln.outage, joined)
			return ln, nil, nil
		}
		switch lease.attempt.handOver(lease, ctx, called) {
		case handedOver:
			return nil, lease, nil
		case tooLate:
			return ln, nil, nil
		}
	}
}

// handing is what came of handing over a lease that was passed on.
type handing uint8

const (
	handedOver handing = iota
	tooLate            // it has too little validity left, and the caller is at the head of the line
	overBefore         // it had ended, and another caller is or will be at the head
)

// handOver hands over a lease that was passed on, unless it comes too late. Who
// finds that out has been first in the line, and stays so.
func (a *attempt) handOver(lease *Lease, ctx context.Context, called time.Duration) handing {
	now := a.group.now()
	a.mu.Lock()
	if lease.ended == nil {
		a.caller, lease.caller, lease.handed = ctx, ctx, time.Duration(now)
	}
	var e errands
	a.stepLocked(now, protocol.Input{Kind: protocol.Take}, &e)
	came := handedOver
	switch {
	case e.left != nil:
		came = tooLate
		a.group.lines.stay(e.left, e.from)
		e.left = nil
	case lease.ended != nil:
		came = overBefore
	default:
		a.taken = true
	}
	a.mu.Unlock()
	a.run(&e)
	if came == handedOver {
		a.acquired(lease, called)
	}
	return came
}

// stepOut takes a caller out of a line who does not want to wait any longer, and
// passes on what it was told meanwhile.
func (l *Locker) stepOut(key string, ln *line, t *turn) {
	if l.group.lines.giveUp(ln, t) {
		return
	}
	if lease := <-t.told; lease != nil {
		lease.giveUp()
		return
	}
	l.group.lines.leave(key, ln, 0)
}
