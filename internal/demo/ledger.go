package demo

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// window is a stretch of time in which one worker could rely on the lock: from
// when it had the lease in hand until it gave it back or the validity ended.
type window struct {
	token    uint64
	from, to time.Duration
	open     bool
}

// ledger writes down who held the lock when, on one clock and with no regard to
// what the lock promises, and finds out afterwards whether that was kept.
type ledger struct {
	mu      sync.Mutex
	windows []window
}

func (l *ledger) granted(token uint64, now time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.windows = append(l.windows, window{token: token, from: now, open: true})
	return len(l.windows) - 1
}

func (l *ledger) ended(i int, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.windows[i].to, l.windows[i].open = at, false
}

func (l *ledger) acquisitions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.windows)
}

// grantedSince counts the locks acquired at or after an instant.
func (l *ledger) grantedSince(instant time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, w := range l.windows {
		if w.from >= instant {
			n++
		}
	}
	return n
}

// closed gives the windows that have ended, in the order of their beginning.
func (l *ledger) closed() []window {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := slices.DeleteFunc(slices.Clone(l.windows), func(w window) bool { return w.open })
	slices.SortFunc(closed, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	return closed
}

// overlaps counts the windows that began while an earlier one lasted.
func (l *ledger) overlaps() int {
	n := 0
	var last time.Duration // the latest end so far
	for i, w := range l.closed() {
		if i > 0 && w.from < last {
			n++
		}
		last = max(last, w.to)
	}
	return n
}

// disordered counts the tokens that are not larger than all those before them.
func (l *ledger) disordered() int {
	n := 0
	var largest uint64
	for _, w := range l.closed() {
		if w.token <= largest {
			n++
		}
		largest = max(largest, w.token)
	}
	return n
}
