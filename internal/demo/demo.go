// Package demo is `redlock demo`: workers contend for one key while nodes fail
// and a worker is paused, and a checker that knows nothing of the lock watches.
//
// The workers share a process, but nothing of the lock: each has a Locker and
// connections of its own, as separate programs would, and all of them talk to
// the nodes over TCP.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

// What a demo does unless told otherwise.
const (
	DefaultDuration = 9 * time.Second
	DefaultWorkers  = 6

	// MinDuration leaves time for the pause, which takes a TTL and more.
	MinDuration = 5 * time.Second
	MaxWorkers  = 100

	defaultTTL = time.Second

	// grace is how much longer than planned a demo goes on if the machine is
	// slow and something that is to be shown has not happened yet.
	grace = 4 * time.Second

	// refresh is how often the view is drawn.
	refresh = 100 * time.Millisecond
)

// Open connects to the nodes, in the same order every time. The function it
// returns ends the connections.
type Open func(context.Context) ([]redlock.Node, func() error, error)

// Config says what to show and where. Its zero value is the demo as a newcomer
// sees it, with no view.
type Config struct {
	// Open connects to real servers; it is called once for each worker and once
	// for the look at the nodes at the end. nil starts five embedded servers.
	Open Open

	Workers  int           // DefaultWorkers if zero
	Duration time.Duration // DefaultDuration if zero
	View     View          // nil shows nothing
	Clock    redlock.Clock // redlock.SystemClock if nil
	Random   io.Reader     // crypto/rand.Reader if nil

	ttl time.Duration // shorter in tests
}

func (c *Config) fill() error {
	c.ttl = orDefault(c.ttl, defaultTTL)
	c.Workers = orDefault(c.Workers, DefaultWorkers)
	c.Duration = orDefault(c.Duration, DefaultDuration)
	if c.View == nil {
		c.View = silent{}
	}
	if c.Clock == nil {
		c.Clock = redlock.SystemClock()
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	switch least := MinDuration * c.ttl / defaultTTL; {
	case c.Duration < least:
		return fmt.Errorf("a duration of %v is too short to show it all: use at least %v", c.Duration, least)
	case c.Workers < 2 || c.Workers > MaxWorkers:
		return fmt.Errorf("%d workers: use 2 to %d", c.Workers, MaxWorkers)
	}
	return nil
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// demo is one run.
type demo struct {
	Config
	key      string
	servers  []*server // the embedded ones; nil on real servers
	audit    []redlock.Node
	workers  []*worker
	board    *board
	ledger   *ledger
	fenced   *register
	unfenced *register
	outage   outage
	pause    pause

	longJob   atomic.Bool // the next holder is to hold for longer than the TTL
	standBack atomic.Bool // leave the lock to the worker that is to be paused
}

// Run shows the demo and checks it. The error says why it could not run to its
// end, and wraps ctx's if that ended first; what was checked and did not hold is
// in the Summary. Nothing of the demo is left when Run returns: no goroutine, no
// listener, no connection and no lease.
func Run(ctx context.Context, cfg Config) (_ Summary, err error) {
	if err := cfg.fill(); err != nil {
		return Summary{}, err
	}
	d := &demo{Config: cfg, ledger: &ledger{}, fenced: &register{fenced: true}, unfenced: &register{}}
	closeNodes, err := d.prepare(ctx)
	defer func() { err = errors.Join(err, closeNodes()) }()
	if err != nil {
		return Summary{}, err
	}
	err = d.perform(ctx)
	elapsed := d.board.elapsed()
	if err = errors.Join(err, d.closeLockers(ctx)); err != nil {
		return Summary{}, err
	}
	return d.summarize(ctx, elapsed), nil
}

// prepare makes everything but takes no lock yet. The function it returns undoes
// it and is never nil.
func (d *demo) prepare(ctx context.Context) (func() error, error) {
	var closers closers
	var id [8]byte
	if _, err := io.ReadFull(d.Random, id[:]); err != nil {
		return closers.closeAll, fmt.Errorf("reading random bytes for a key: %w", err)
	}
	d.key = "redlock-demo:" + hex.EncodeToString(id[:])
	open := d.Open
	if open == nil {
		servers, err := startServers(embeddedNodes)
		if err != nil {
			return closers.closeAll, err
		}
		d.servers = servers
		closers.add(func() error { stopServers(servers); return nil })
		open = dialServers(servers)
	}
	var err error
	if d.audit, err = closers.open(ctx, open); err != nil {
		return closers.closeAll, err
	}
	if err := d.reachable(ctx); err != nil {
		return closers.closeAll, err
	}
	d.board = newBoard(d.Clock, d.title(), names(d.audit), d.Workers)
	for i := range d.Workers {
		nodes, err := closers.open(ctx, open)
		if err != nil {
			return closers.closeAll, err
		}
		w, err := newWorker(d, i, nodes)
		if err != nil {
			return closers.closeAll, err
		}
		d.workers = append(d.workers, w)
	}
	return closers.closeAll, nil
}

func (d *demo) title() string {
	if d.servers == nil {
		return fmt.Sprintf("%s, %d workers, one key", plural(len(d.audit), "real node"), d.Workers)
	}
	return fmt.Sprintf("%d embedded nodes on loopback, %d workers, one key", len(d.audit), d.Workers)
}

// perform lets the workers work and the timeline happen. The view is closed as
// soon as ctx ends, so that an interrupt gives the terminal back at once.
func (d *demo) perform(ctx context.Context) error {
	work, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	for _, w := range d.workers {
		working.Go(func() { w.run(work) })
	}
	viewing, stopView := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	drawing.Go(func() { d.draw(viewing) })

	err := d.direct(ctx)
	stop()
	working.Wait()
	stopView()
	drawing.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("stopped after %s: %w", seconds(d.board.elapsed()), context.Cause(ctx))
	}
	return err
}

func (d *demo) draw(ctx context.Context) {
	for {
		d.View.update(d.snapshot())
		if sleep(ctx, d.Clock, refresh) != nil {
			d.View.close(d.snapshot())
			return
		}
	}
}

// closeLockers releases what is held, also when ctx has ended.
func (d *demo) closeLockers(ctx context.Context) error {
	ctx, cancel := d.Clock.WithTimeout(context.WithoutCancel(ctx), 2*d.ttl)
	defer cancel()
	errs := make([]error, len(d.workers))
	var closing sync.WaitGroup
	for i, w := range d.workers {
		closing.Go(func() {
			if err := w.locker.Close(ctx); !errors.Is(err, redlock.ErrNoQuorum) { // nodes are down on purpose
				errs[i] = err
			}
		})
	}
	closing.Wait()
	return errors.Join(errs...)
}

// closers are undone in the reverse order.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) open(ctx context.Context, open Open) ([]redlock.Node, error) {
	nodes, done, err := open(ctx)
	if err == nil {
		c.add(done)
	}
	return nodes, err
}

func (c *closers) closeAll() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

// sleep waits for d on the clock, or until ctx ends; it returns ctx.Err() then.
func sleep(ctx context.Context, clock redlock.Clock, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	done := make(chan struct{})
	timer := clock.AfterFunc(d, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		timer.Stop()
		return ctx.Err()
	}
}
