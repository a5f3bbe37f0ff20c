// Package memnode is a voter in this process's memory. It keeps the whole
// contract of [redlock.Node], fences and late requests included, on a
// [redlock.Clock], so that code that locks can be tested without a server and
// without waiting, and it can be taken down, frozen and restarted by hand.
//
// It is for tests and examples. It excludes goroutines of one process only, and
// all nodes of a process fail together.
package memnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

// The retentions of a node that is not told others.
const (
	DefaultFenceRetention     = 7 * 24 * time.Hour
	DefaultTombstoneRetention = time.Minute
)

// Options says what kind of node to make. The zero value is ready for use.
type Options struct {
	// Name is the node's name. Default "mem-1", "mem-2" and so on, each given
	// once in a process.
	Name string

	// Clock is what grants expire by. Default redlock.SystemClock().
	Clock redlock.Clock

	// Durable makes a node that loses nothing in a Restart.
	Durable bool

	// FenceRetention is for how long at least the counter of a key is kept
	// after its last grant ended. Default DefaultFenceRetention.
	FenceRetention time.Duration

	// TombstoneRetention is for how long at least a released owner is refused.
	// A tombstone takes some 100 bytes. Default DefaultTombstoneRetention.
	TombstoneRetention time.Duration
}

// Node is a voter in memory. Make one with New. It starts no goroutine and needs
// no closing: what is out of date is dropped in passing, by later calls.
type Node struct {
	name   string
	serial uint64
	clock  redlock.Clock
	opts   Options

	mu     sync.Mutex
	table  *table
	wakes  map[string]func() // by waiter
	life   int               // counts the lives of the data, from 1
	lostAt time.Duration     // when the data was last lost, if life is above 1
	epoch  time.Time         // the date at the clock's origin
	skew   time.Duration
	down   error
	thawed chan struct{} // of a frozen node: closed when it goes on

	incarnation string // of this life
}

var (
	_ redlock.Node   = (*Node)(nil)
	_ redlock.Prober = (*Node)(nil)
	_ redlock.Waker  = (*Node)(nil)
)

// serials numbers the nodes of the process, so that two nodes given one name
// are still told apart by their incarnations.
var serials atomic.Uint64

// New makes a node on which no key is held.
func New(opts Options) *Node {
	n := &Node{name: opts.Name, serial: serials.Add(1), clock: opts.Clock, opts: opts}
	if n.name == "" {
		n.name = fmt.Sprintf("mem-%d", n.serial)
	}
	if n.clock == nil {
		n.clock = redlock.SystemClock()
	}
	if n.opts.FenceRetention <= 0 {
		n.opts.FenceRetention = DefaultFenceRetention
	}
	if n.opts.TombstoneRetention <= 0 {
		n.opts.TombstoneRetention = DefaultTombstoneRetention
	}
	n.begin()
	return n
}

// NewN makes n nodes alike, as redlock.New takes them. If opts has a name, they
// are called after it: "name-1", "name-2" and so on. A test that wants to break
// one of them asserts its type: nodes[0].(*memnode.Node).SetDown(err).
func NewN(n int, opts Options) []redlock.Node {
	nodes := make([]redlock.Node, n)
	for i := range nodes {
		one := opts
		if opts.Name != "" {
			one.Name = fmt.Sprintf("%s-%d", opts.Name, i+1)
		}
		nodes[i] = New(one)
	}
	return nodes
}

// begin starts a life with no data.
func (n *Node) begin() {
	n.epoch = n.clock.Wall().Round(0).Add(-n.clock.Now())
	n.table = n.newTable()
	n.life++
	n.incarnation = fmt.Sprintf("%s#%d.%d", n.name, n.serial, n.life)
}

// Name implements redlock.Node.
func (n *Node) Name() string { return n.name }

// Acquire implements redlock.Node.
func (n *Node) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	now, err := n.enter(ctx)
	if err != nil {
		return redlock.Vote{}, err
	}
	defer n.mu.Unlock()
	if err := validate(req.Key, req.Owner, req.TTL); err != nil {
		return redlock.Vote{}, err
	}
	req.Hint = min(req.Hint, n.hintLimit())
	v, err := n.table.acquire(now, req)
	return n.sign(now, v), err
}

// Confirm implements redlock.Node.
func (n *Node) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	now, err := n.enter(ctx)
	if err != nil {
		return redlock.Vote{}, err
	}
	defer n.mu.Unlock()
	if req.Token > redlock.MaxFence {
		return redlock.Vote{}, fmt.Errorf("memnode: token %d is above %d", req.Token, uint64(redlock.MaxFence))
	}
	return n.sign(now, n.table.confirm(now, req)), nil
}

// Extend implements redlock.Node.
func (n *Node) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	now, err := n.enter(ctx)
	if err != nil {
		return redlock.Vote{}, err
	}
	defer n.mu.Unlock()
	if err := validate(req.Key, req.Owner, req.TTL); err != nil {
		return redlock.Vote{}, err
	}
	return n.sign(now, n.table.extend(now, req)), nil
}

// Release implements redlock.Node.
func (n *Node) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	now, err := n.enter(ctx)
	if err != nil {
		return err
	}
	n.wake(n.table.release(now, req))
	n.mu.Unlock()
	return nil
}

// Watch implements redlock.Waker.
func (n *Node) Watch(key, waiter string, wake func()) (stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wakes == nil {
		n.wakes = make(map[string]func())
	}
	n.wakes[waiter] = wake
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.wakes, waiter)
		n.wake(n.table.leave(n.clock.Now(), key, waiter))
	}
}

// wake calls a waiter, if there is one.
func (n *Node) wake(waiter string) {
	if wake := n.wakes[waiter]; wake != nil {
		wake()
	}
}

// Inspect implements redlock.Node.
func (n *Node) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	now, err := n.enter(ctx)
	if err != nil {
		return redlock.NodeState{}, err
	}
	defer n.mu.Unlock()
	s := n.table.inspect(now, key)
	s.Clock, s.Incarnation, s.Age = n.wall(), n.incarnation, n.age(now)
	return s, nil
}

// Probe implements redlock.Prober.
func (n *Node) Probe(ctx context.Context) (redlock.NodeInfo, error) {
	now, err := n.enter(ctx)
	if err != nil {
		return redlock.NodeInfo{}, err
	}
	defer n.mu.Unlock()
	return redlock.NodeInfo{
		Kind:        "memory",
		Incarnation: n.incarnation,
		Age:         n.age(now),
		Durable:     n.opts.Durable,
		Clock:       n.wall(),
		Warnings:    []string{"lives in this process: it locks nobody else out, and fails together with the other memory nodes"},
	}, nil
}

// validate refuses what no Locker sends.
func validate(key, owner string, ttl time.Duration) error {
	switch {
	case key == "":
		return errors.New("memnode: empty key")
	case len(key) > redlock.MaxKeyLength:
		return fmt.Errorf("memnode: key of %d bytes, longer than %d", len(key), redlock.MaxKeyLength)
	case owner == "":
		return errors.New("memnode: empty owner")
	case ttl <= 0:
		return fmt.Errorf("memnode: TTL %v is not positive", ttl)
	}
	return nil
}

// hintLimit is the largest hint that is taken.
func (n *Node) hintLimit() uint64 {
	return uint64(max(0, n.wall().Add(redlock.HintHorizon).UnixMicro()))
}

// sign adds what every vote tells of its node.
func (n *Node) sign(now time.Duration, v redlock.Vote) redlock.Vote {
	v.Clock, v.Incarnation, v.Age = n.wall(), n.incarnation, n.age(now)
	return v
}

// wall is the node's date and time. It goes by the clock that grants expire by,
// as a server's does: a vote that shows it shows whether that clock leapt.
func (n *Node) wall() time.Time { return n.epoch.Add(n.clock.Now() + n.skew) }

// age is positive from the very instant of a loss: zero would say that nothing
// was lost.
func (n *Node) age(now time.Duration) time.Duration {
	if n.life == 1 {
		return 0
	}
	return max(1, now-n.lostAt)
}
