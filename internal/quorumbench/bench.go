// Package quorumbench measures what a lock costs on the nodes that a user has: how
// long a majority takes, which node decides and which drags, and what TTL and node
// timeout go with that.
package quorumbench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

// MaxKeys bounds the keys of a run: each leaves a counter behind on every node,
// until the node forgets it.
const MaxKeys = 10_000

// MaxConcurrency bounds the workers.
const MaxConcurrency = 4096

// Config says what to measure.
type Config struct {
	Clock       redlock.Clock // of the Locker
	TTL         time.Duration
	NodeTimeout time.Duration // zero for the Locker's default

	For         time.Duration // at most that long
	Count       int           // at most so many locks; 0 for no such limit
	Concurrency int           // workers, each locking one key after the other
	Keys        int           // different keys; with fewer than workers, these wait for each other
	Prefix      string        // of the keys

	// Progress is told how far the run is, a few times a second, by one
	// goroutine at a time. It may be nil.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Elapsed, For time.Duration
	Locks, Count int64
	Failed       int64
	P50          time.Duration // of a Lock, so far
	Done         bool          // the last word
}

// Check says what is wrong with the bounds, if anything is.
func (c *Config) Check() error {
	switch {
	case c.For <= 0:
		return fmt.Errorf("the time is %v: it must be above zero", c.For)
	case c.Count < 0:
		return fmt.Errorf("the count is %d: it must not be negative; 0 is for no limit", c.Count)
	case c.Concurrency < 1 || c.Concurrency > MaxConcurrency:
		return fmt.Errorf("the concurrency is %d: use 1 to %d", c.Concurrency, MaxConcurrency)
	case c.Keys < 1 || c.Keys > MaxKeys:
		return fmt.Errorf("there are %d keys: use 1 to %d", c.Keys, MaxKeys)
	case c.Prefix == "" || len(c.key(MaxKeys)) > redlock.MaxKeyLength:
		return fmt.Errorf("the prefix has %d bytes: use 1 to %d", len(c.Prefix), redlock.MaxKeyLength-len(c.key(MaxKeys))+len(c.Prefix))
	}
	return nil
}

func (c *Config) key(i int) string { return fmt.Sprintf("%s:%d", c.Prefix, i) }

// Bench is one run. It is the Observer of the Locker that it runs on.
type Bench struct {
	cfg   Config
	rec   *recorder
	nodes []redlock.Node

	claimed atomic.Int64 // operations begun
	started time.Duration
}

// New prepares a run. The Locker it is for must have the clock of the configuration,
// and the Bench as its Observer.
func New(cfg Config) *Bench {
	if cfg.NodeTimeout == 0 { // as Options.NodeTimeout has it
		cfg.NodeTimeout = min(cfg.TTL/4, max(100*time.Millisecond, min(cfg.TTL/20, 250*time.Millisecond)))
	}
	return &Bench{cfg: cfg, rec: newRecorder(&cfg)}
}

// Observe implements redlock.Observer.
func (b *Bench) Observe(_ context.Context, e redlock.Event) { b.rec.observe(&e) }

// Run locks and unlocks on the Locker's nodes until a bound is reached or ctx ends,
// and closes the Locker. A run that ctx ended reports what it has measured, and that it
// was interrupted. It is an error if not even the first lock is to be had.
func (b *Bench) Run(ctx context.Context, locker *redlock.Locker, nodes []redlock.Node) (*Report, error) {
	b.nodes = nodes
	if err := b.cfg.Check(); err != nil {
		return nil, err
	}
	if err := b.warmUp(ctx, locker); err != nil {
		_ = b.close(ctx, locker)
		b.cleanUp(ctx)
		return nil, err
	}
	b.started = b.cfg.Clock.Now()
	b.rec.begin(b.started, nodes)
	working, cancel := b.cfg.Clock.WithTimeout(ctx, b.cfg.For+lastLock)
	defer cancel()
	stopTelling := b.tell()
	var workers sync.WaitGroup
	for i := range b.cfg.Concurrency {
		workers.Go(func() { b.work(working, locker, i) })
	}
	workers.Wait()
	elapsed := b.cfg.Clock.Now() - b.started
	stopTelling()
	_ = b.close(ctx, locker) // the answers that are still to come, too; cleanUp looks
	r := b.rec.report(elapsed)
	r.Interrupted = ctx.Err() != nil
	r.LeftLocked, r.LeftUnknown = b.cleanUp(ctx)
	r.Advice = Advise(r.facts())
	return r, nil
}

const (
	// lastLock is how long after the end a Lock that was begun may take.
	lastLock = 2 * time.Second

	// closeTimeout bounds the end, beyond a node timeout.
	closeTimeout = 3 * time.Second
)

// warmUp makes connections, and finds out whether there is a quorum at all. It waits
// for nodes that are too young to vote.
func (b *Bench) warmUp(ctx context.Context, locker *redlock.Locker) error {
	for range warmUps {
		lease, err := locker.Lock(ctx, b.cfg.key(0))
		if err != nil {
			return err
		}
		_ = lease.Unlock(ctx) // what stays locked is found at the end
	}
	return nil
}

const warmUps = 5

func (b *Bench) work(ctx context.Context, locker *redlock.Locker, worker int) {
	keys := b.keysOf(worker)
	clock := b.cfg.Clock
	for i := 0; b.goOn(ctx); i++ {
		start := clock.Now()
		lease, err := locker.Lock(ctx, keys[i%len(keys)])
		locked := clock.Now()
		if err != nil {
			if ctx.Err() == nil {
				b.rec.failed(err)
			}
			continue
		}
		err = lease.Unlock(ctx)
		b.rec.locked(locked, locked-start, clock.Now()-locked, err)
	}
}

// goOn claims one operation.
func (b *Bench) goOn(ctx context.Context) bool {
	return ctx.Err() == nil && b.cfg.Clock.Now()-b.started < b.cfg.For &&
		(b.cfg.Count == 0 || b.claimed.Add(1) <= int64(b.cfg.Count))
}

// keysOf are a worker's own keys, or one of those that it shares if there are too few.
func (b *Bench) keysOf(worker int) (keys []string) {
	for i := worker % b.cfg.Keys; i < b.cfg.Keys; i += b.cfg.Concurrency {
		keys = append(keys, b.cfg.key(i))
	}
	return keys
}

// close closes the Locker, ended context or not: it lets go of what is held, and has
// nodes that did not answer told again.
func (b *Bench) close(ctx context.Context, locker *redlock.Locker) error {
	ctx, cancel := b.cfg.Clock.WithTimeout(context.WithoutCancel(ctx), b.cfg.NodeTimeout+closeTimeout)
	defer cancel()
	return locker.Close(ctx)
}

// tell tells of the progress until it is stopped.
func (b *Bench) tell() (stop func()) {
	if b.cfg.Progress == nil {
		return func() {}
	}
	var mu sync.Mutex
	var timer redlock.Timer
	var stopped bool
	var next func()
	next = func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		b.cfg.Progress(b.progress())
		timer = b.cfg.Clock.AfterFunc(tellEvery, next)
	}
	next()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
		last := b.progress()
		last.Done = true
		b.cfg.Progress(last)
	}
}

const tellEvery = 200 * time.Millisecond

func (b *Bench) progress() Progress {
	p := b.rec.progress()
	p.Elapsed, p.For, p.Count = min(b.cfg.Clock.Now()-b.started, b.cfg.For), b.cfg.For, int64(b.cfg.Count)
	return p
}
