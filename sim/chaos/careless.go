package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/sim"
)

// blindfold takes from a node's answers what a guard goes by, so that a client runs
// without that guard. No option of the Locker does.
func blindfold(n redlock.Node, without sim.Defence) redlock.Node {
	if without&(sim.RestartGuard|sim.ClockGuard) == 0 {
		return n
	}
	return &blindfolded{Node: n, ageless: without.Has(sim.RestartGuard), clockless: without.Has(sim.ClockGuard)}
}

type blindfolded struct {
	redlock.Node
	ageless, clockless bool
}

func (b *blindfolded) blind(v redlock.Vote, err error) (redlock.Vote, error) {
	if b.ageless {
		v.Age = 0
	}
	if b.clockless {
		v.Clock = time.Time{}
	}
	return v, err
}

func (b *blindfolded) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	return b.blind(b.Node.Acquire(ctx, req))
}

func (b *blindfolded) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	return b.blind(b.Node.Confirm(ctx, req))
}

func (b *blindfolded) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	return b.blind(b.Node.Extend(ctx, req))
}

// careless is a lock as people write it in an afternoon, with the mistakes that it
// is told to make. It shows that the checkers notice.
type careless struct {
	nodes   []redlock.Node
	spec    *spec
	without sim.Defence

	mu     sync.Mutex
	random *chance
}

func newCareless(nodes []redlock.Node, s *spec, without sim.Defence) *careless {
	return &careless{nodes: nodes, spec: s, without: without, random: newChance(s.Seed, 7+100*s.Client+s.Life)}
}

// Close does nothing: there is nothing in the background.
func (c *careless) Close(context.Context) error { return nil }

// Lock tries until it wins.
func (c *careless) Lock(ctx context.Context, key string) (held, error) {
	for {
		h, err := c.TryLock(ctx, key)
		if err == nil || ctx.Err() != nil {
			return h, err
		}
		if !sleep(ctx, c.pause()) {
			return nil, ctx.Err()
		}
	}
}

func (c *careless) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.between(5*time.Millisecond, 50*time.Millisecond)
}

func (c *careless) owner() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%016x%016x", c.random.bits(), c.random.bits())
}

// TryLock asks every node once.
func (c *careless) TryLock(ctx context.Context, key string) (held, error) {
	owner, sent := c.owner(), stamp()
	var mu sync.Mutex
	var asked sync.WaitGroup
	granted, token := 0, uint64(0)
	for _, n := range c.nodes {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.spec.Timeout)
			defer cancel()
			v, err := n.Acquire(ctx, redlock.AcquireRequest{Key: key, Owner: owner, TTL: c.spec.TTL})
			if err == nil && v.Granted {
				mu.Lock()
				defer mu.Unlock()
				granted++
				token = max(token, v.Fence)
			}
		})
	}
	asked.Wait()
	from := sent
	if c.without.Has(sim.CountFromSending) {
		from = stamp() // the mistake: what the way took is counted as validity
	}
	l := &carelessLease{lock: c, key: key, owner: owner, token: token, done: make(chan struct{})}
	l.until = from + c.spec.TTL*99/100
	if granted <= len(c.nodes)/2 || stamp() >= l.until {
		_ = l.Unlock(ctx)
		return nil, redlock.ErrNotAcquired
	}
	l.timer = time.AfterFunc(l.until-stamp(), func() { close(l.done) })
	return l, nil
}

type carelessLease struct {
	lock  *careless
	key   string
	owner string
	token uint64
	until time.Duration
	timer *time.Timer
	done  chan struct{}
}

func (l *carelessLease) Token() uint64            { return l.token }
func (l *carelessLease) Remaining() time.Duration { return l.until - stamp() }
func (l *carelessLease) Done() <-chan struct{}    { return l.done }

func (l *carelessLease) Err() error {
	if l.Remaining() <= 0 {
		return redlock.ErrLost
	}
	return nil
}

// Extend is beyond it.
func (l *carelessLease) Extend(context.Context, time.Duration) error { return errors.ErrUnsupported }

// Unlock gives the key back on all nodes.
func (l *carelessLease) Unlock(ctx context.Context) error {
	if l.timer != nil {
		l.timer.Stop()
	}
	var told sync.WaitGroup
	for _, n := range l.lock.nodes {
		told.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.lock.spec.Timeout)
			defer cancel()
			owner := l.owner
			if l.lock.without.Has(sim.ReleaseByOwner) && l.timer != nil {
				// The mistake: whoever has the key by now loses it.
				if s, err := n.Inspect(ctx, l.key); err == nil && s.Held {
					owner = s.Owner
				}
			}
			_ = n.Release(ctx, redlock.ReleaseRequest{Key: l.key, Owner: owner})
		})
	}
	told.Wait()
	return nil
}
