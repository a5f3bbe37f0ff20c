package demo

import (
	"context"
	"time"

	"github.com/quorumlock/redlock"
)

// The timeline, in parts of the demo's duration.
const (
	partLongJob = 0.11 // is still at work when the node is killed
	partKill    = 0.22
	partRevive  = 0.50
	partPause   = 0.60
)

// victim is the server that is killed.
const victim = 1

// direct makes things happen, in order and at their time, and returns at the end.
// What depends on others it waits for, up to a limit: a slow machine shall show
// late what it cannot show in time.
func (d *demo) direct(ctx context.Context) error {
	if d.servers == nil {
		d.board.event("these are real servers: none of them is killed")
	}
	d.until(ctx, partLongJob)
	d.longJob.Store(true)
	if d.servers != nil {
		if err := d.killAndRevive(ctx); err != nil {
			return err
		}
	}
	d.until(ctx, partPause)
	d.standBack.Store(true)
	d.workers[len(d.workers)-1].pausing.Store(true)
	d.until(ctx, 1)
	d.waitFor(ctx, func() bool { return d.pause.isOver() && (d.servers == nil || d.outage.isOver()) })
	return nil
}

func (d *demo) killAndRevive(ctx context.Context) error {
	s := d.servers[victim]
	d.until(ctx, partKill)
	d.outage.began(s.name, d.Clock.Now())
	s.kill()
	d.board.kill(victim, true)
	d.board.event("%s is killed: its connections are cut, its port is closed", s.name)

	d.until(ctx, partRevive)
	acquired := func() int { return d.ledger.grantedSince(d.outage.downAt()) }
	d.waitFor(ctx, func() bool { return acquired() > 0 })
	d.outage.ended(d.Clock.Now(), acquired())
	err := s.revive(ctx, d.Clock)
	if err != nil && ctx.Err() == nil {
		return err
	}
	d.board.kill(victim, false)
	d.board.event("%s is back with its data, as a durable server", s.name)
	return nil
}

// until waits for a part of the duration to be over, or ctx.
func (d *demo) until(ctx context.Context, part float64) {
	at := time.Duration(part * float64(d.Duration))
	_ = sleep(ctx, d.Clock, at-d.board.elapsed())
}

// waitFor waits for a condition that others fulfil, within the grace.
func (d *demo) waitFor(ctx context.Context, done func() bool) {
	for !done() && d.board.elapsed() < d.Duration+grace {
		if sleep(ctx, d.Clock, 5*time.Millisecond) != nil {
			return
		}
	}
}

// voted counts a vote, and notices that the revived node is back.
func (d *demo) voted(e redlock.Event) {
	d.board.vote(e)
	answered := e.Outcome == redlock.Granted || e.Outcome == redlock.Refused
	if after, ok := d.outage.answered(e.Node, answered, d.Clock.Now()-e.Latency); ok {
		d.board.event("%s votes again, %s after its return", e.Node, millis(after))
	}
}
