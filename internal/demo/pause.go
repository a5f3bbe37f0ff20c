package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

// pause is the story of the worker that is stopped beyond its validity.
type pause struct {
	mu       sync.Mutex
	worker   string
	validity time.Duration // when it ends
	told     time.Duration // when the lease's context ended
	cause    error         // what it said
	done     bool          // the worker has written
}

// began notes when the validity ends, and has the lease's context looked at, if
// not by the worker.
func (p *pause) began(d *demo, w *worker, lease *redlock.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worker = w.name
	p.validity = d.Clock.Now() + lease.Remaining()
	d.board.event("%s takes the lock, then is paused, as by a garbage collection", w.name)
	context.AfterFunc(lease.Context(), func() {
		p.mu.Lock()
		p.told, p.cause = d.Clock.Now(), context.Cause(lease.Context())
		lost := errors.Is(p.cause, redlock.ErrLost)
		p.mu.Unlock()
		if lost {
			d.board.event("%s's validity is over: its context ends, %q", w.name, redlock.ErrLost)
		}
	})
}

// wait lasts until the validity is over, the context has ended, and somebody else
// has got the lock and written; and a little longer, for people to see.
func (p *pause) wait(ctx context.Context, d *demo, lease *redlock.Lease) error {
	d.waitFor(ctx, func() bool {
		return p.toldAt() != 0 && d.Clock.Now() > p.until() && d.unfenced.newest() > lease.Token()
	})
	return sleep(ctx, d.Clock, d.ttl/4)
}

func (p *pause) until() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.validity
}

func (p *pause) toldAt() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

func (p *pause) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
}

func (p *pause) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// check allows for a machine that runs goroutines late: how late is the figure.
func (p *pause) check(allowance time.Duration) Check {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := Check{Name: "loss told", Status: Held}
	late := p.told - p.validity
	switch {
	case p.worker == "":
		c.Status, c.Detail = Failed, "no worker was paused: it did not get the lock"
	case p.told == 0:
		c.Status, c.Detail = Failed, p.worker+"'s context did not end with its validity"
	case !errors.Is(p.cause, redlock.ErrLost):
		c.Status, c.Detail = Failed, fmt.Sprintf("%s's context ended with %q", p.worker, p.cause)
	case late > allowance:
		c.Status, c.Detail = Failed, fmt.Sprintf("%s's context ended %s after its validity", p.worker, millis(late))
	default:
		c.Detail = fmt.Sprintf("%s's context ended at validity end (+%s)", p.worker, millis(max(0, late)))
	}
	return c
}
