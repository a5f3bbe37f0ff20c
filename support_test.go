package redlock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// testNode is a memory node with a network in front of it: latency, lost
// requests, lost answers, and a count of what was sent.
type testNode struct {
	*memnode.Node

	mu       sync.Mutex
	there    time.Duration            // latency of requests
	back     time.Duration            // and of answers
	deaf     map[string]bool          // operations whose request is lost
	mute     map[string]bool          // operations whose answer is lost
	late     map[string]time.Duration // further latency of an operation's request, though the caller gives up
	requests map[string]int
	owners   []string // that asked to acquire
}

func (n *testNode) set(f func(n *testNode)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n)
}

func (n *testNode) count(op string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.requests[op]
}

// carry takes one request to the node and the answer back.
func carry[T any](ctx context.Context, n *testNode, op string, call func(ctx context.Context) (T, error)) (T, error) {
	n.mu.Lock()
	n.requests[op]++
	there, back, deaf, mute := n.there+n.late[op], n.back, n.deaf[op], n.mute[op]
	n.mu.Unlock()
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	if !deaf {
		go func() {
			time.Sleep(there)
			// The request is on its way: what becomes of the caller does not
			// matter to the server.
			value, err := call(context.WithoutCancel(ctx))
			time.Sleep(back)
			if !mute {
				answers <- answer{value, err}
			}
		}()
	}
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func (n *testNode) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	n.set(func(n *testNode) { n.owners = append(n.owners, req.Owner) })
	return carry(ctx, n, "acquire", func(ctx context.Context) (redlock.Vote, error) { return n.Node.Acquire(ctx, req) })
}

func (n *testNode) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	return carry(ctx, n, "confirm", func(ctx context.Context) (redlock.Vote, error) { return n.Node.Confirm(ctx, req) })
}

func (n *testNode) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	return carry(ctx, n, "extend", func(ctx context.Context) (redlock.Vote, error) { return n.Node.Extend(ctx, req) })
}

func (n *testNode) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	_, err := carry(ctx, n, "release", func(ctx context.Context) (redlock.Vote, error) {
		return redlock.Vote{}, n.Node.Release(ctx, req)
	})
	return err
}

// freeze is a node that gets nothing and says nothing, like a stopped server.
func (n *testNode) freeze(frozen bool) {
	ops := map[string]bool{}
	for _, op := range []string{"acquire", "confirm", "extend", "release"} {
		ops[op] = frozen
	}
	n.set(func(n *testNode) { n.deaf = ops })
}

// holder is who holds a key on the node, without the network.
func (n *testNode) holder(t *testing.T, key string) string {
	t.Helper()
	state, err := n.Node.Inspect(t.Context(), key)
	require.NoError(t, err)
	return state.Owner
}

// world is a set of nodes and a Locker on them, in a bubble.
type world struct {
	nodes  []*testNode
	locker *redlock.Locker
	events *recorder
}

// newWorld makes n nodes a millisecond away and a Locker, closed at the end.
func newWorld(t *testing.T, n int, opts redlock.Options) *world {
	t.Helper()
	w := &world{events: &recorder{}}
	for range n {
		w.nodes = append(w.nodes, &testNode{
			Node:     memnode.New(memnode.Options{Clock: redlock.GoClock()}),
			there:    500 * time.Microsecond,
			back:     500 * time.Microsecond,
			deaf:     map[string]bool{},
			mute:     map[string]bool{},
			late:     map[string]time.Duration{},
			requests: map[string]int{},
		})
	}
	opts.Observer = w.events
	w.locker = w.another(t, opts)
	return w
}

// another is one more Locker on the same nodes, as of another process.
func (w *world) another(t *testing.T, opts redlock.Options) *redlock.Locker {
	t.Helper()
	return w.lockerOn(t, opts, func(n *testNode) redlock.Node { return n })
}

// withoutQueues is another that sees no more of the nodes than a Node has to be.
func (w *world) withoutQueues(t *testing.T, opts redlock.Options) *redlock.Locker {
	t.Helper()
	return w.lockerOn(t, opts, func(n *testNode) redlock.Node { return struct{ redlock.Node }{n} })
}

func (w *world) lockerOn(t *testing.T, opts redlock.Options, as func(*testNode) redlock.Node) *redlock.Locker {
	t.Helper()
	var nodes []redlock.Node
	for _, n := range w.nodes {
		nodes = append(nodes, as(n))
	}
	opts.Clock = redlock.GoClock()
	l, err := redlock.New(nodes, opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := l.Close(context.Background()); !errors.Is(err, redlock.ErrNoQuorum) { // nodes may be frozen
			require.NoError(t, err)
		}
	})
	return l
}

// down takes all nodes down, with the error that they give, or up again.
func (w *world) down(err error) {
	for _, n := range w.nodes {
		n.SetDown(err)
	}
}

// holders are the owners that hold a key anywhere.
func (w *world) holders(t *testing.T, key string) []string {
	t.Helper()
	var owners []string
	for _, n := range w.nodes {
		if owner := n.holder(t, key); owner != "" {
			owners = append(owners, owner)
		}
	}
	return owners
}

// recorder keeps the events.
type recorder struct {
	mu     sync.Mutex
	events []redlock.Event
}

func (r *recorder) Observe(_ context.Context, e redlock.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// refusals counts the nodes that refused an acquire.
func (r *recorder) refusals() int {
	n := 0
	for _, e := range r.of(redlock.EventVote) {
		if e.Op == "acquire" && e.Outcome == redlock.Refused {
			n++
		}
	}
	return n
}

func (r *recorder) of(kind redlock.EventKind) []redlock.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []redlock.Event
	for _, e := range r.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// skippingClock is the system clock on a machine that is suspended by skip:
// time goes on, timers do not.
type skippingClock struct {
	mu      sync.Mutex
	skipped time.Duration
}

func (c *skippingClock) skip(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipped += d
}

func (c *skippingClock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return redlock.SystemClock().Now() + c.skipped
}

func (c *skippingClock) Wall() time.Time { return time.Now() }

func (c *skippingClock) AfterFunc(d time.Duration, f func()) redlock.Timer {
	return redlock.SystemClock().AfterFunc(d, f)
}

func (c *skippingClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
