package zknode

import (
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

// serverClock reckons what the ensemble's clock says, from the times that it
// writes on znodes. No lock depends on it: sessions are timed by a clock that
// nobody sets. It says how far ahead a hint may carry a counter, and what
// others' grants have left.
type serverClock struct {
	mu    sync.Mutex
	known bool
	ahead time.Duration // of ours, at least; since 1970
}

// wrote takes the time of a write that was sent and answered at these instants
// of our clock. The clock is never reckoned to be further than it is, unless it
// was set back or runs slower than ours; then a later write shows it.
func (c *serverClock) wrote(mtime int64, sent, received time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Duration(mtime) * time.Millisecond
	least, most := at-received, at+time.Millisecond-sent
	if !c.known || least > c.ahead || most < c.ahead {
		c.known, c.ahead = true, least
	}
}

// at is what the ensemble's clock shows, at least, at an instant of ours. It
// reports false if that is not known.
func (c *serverClock) at(now time.Duration) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now + c.ahead, c.known
}

// recent is a set that forgets what was put in some time ago.
type recent struct {
	clock redlock.Clock
	keep  time.Duration

	mu    sync.Mutex
	last  map[laneID]time.Duration
	order []entry // by time
}

type entry struct {
	id laneID
	at time.Duration
}

func newRecent(clock redlock.Clock, keep time.Duration) *recent {
	return &recent{clock: clock, keep: keep, last: map[laneID]time.Duration{}}
}

func (r *recent) add(id laneID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	for len(r.order) > 0 && now-r.order[0].at > r.keep {
		if old := r.order[0]; r.last[old.id] == old.at {
			delete(r.last, old.id)
		}
		r.order = r.order[1:]
	}
	r.last[id] = now
	r.order = append(r.order, entry{id, now})
}

func (r *recent) has(id laneID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.last[id]
	return ok && r.clock.Now()-at <= r.keep
}
