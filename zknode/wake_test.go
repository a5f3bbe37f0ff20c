package zknode_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/zknode"
)

// waiter waits for the key "k" at one node.
type waiter struct {
	node   *zknode.Node
	place  redlock.Place
	called chan struct{}
	stop   func()
}

// watch makes a waiter for whom a freed key is set aside for longer than any test
// takes. The waiter with the smallest number has waited for longest.
func watch(t *testing.T, n *zknode.Node, number int) *waiter {
	t.Helper()
	called := make(chan struct{}, 16)
	w := &waiter{
		node:   n,
		place:  redlock.Place{Waiter: fmt.Sprintf("%032x", number), Since: uint64(number), Hold: time.Hour},
		called: called,
	}
	w.stop = n.Watch("k", w.place.Waiter, func() { called <- struct{}{} })
	t.Cleanup(w.stop)
	return w
}

// ask acquires the key for the waiter.
func (w *waiter) ask(t *testing.T, who int) redlock.Vote {
	t.Helper()
	vote, err := w.node.Acquire(within(t, patience), w.request(who))
	require.NoError(t, err)
	return vote
}

func (w *waiter) request(who int) redlock.AcquireRequest {
	return redlock.AcquireRequest{Key: "k", Owner: owner(who), TTL: time.Minute, Place: w.place}
}

// queue makes a waiter who has a place.
func queue(t *testing.T, n *zknode.Node, number int) *waiter {
	t.Helper()
	w := watch(t, n, number)
	w.mustQueue(t)
	return w
}

func (w *waiter) mustQueue(t *testing.T) {
	t.Helper()
	vote := w.ask(t, 1000)
	require.False(t, vote.Granted)
	require.True(t, vote.Queued)
}

func (w *waiter) mustBeCalled(t *testing.T) {
	t.Helper()
	select {
	case <-w.called:
	case <-time.After(patience):
		require.Fail(t, "the waiter was not called")
	}
}

// written is what others see of a record.
type written struct {
	Grant *struct {
		TTL  int64 `json:"ttl_ms"`
		From int64 `json:"from_ms"`
	} `json:"grant"`
	Aside *struct {
		Waiter string `json:"waiter"`
		From   int64  `json:"from_ms"`
	} `json:"aside"`
	Queue []struct {
		Waiter string `json:"waiter"`
	} `json:"queue"`
}

// recordAt is empty where there is none yet.
func recordAt(t *testing.T, conn *zk.Conn, root string) (written, *zk.Stat) {
	t.Helper()
	var r written
	data, stat, err := conn.Get(root + "/locks/k")
	if errors.Is(err, zk.ErrNoNode) {
		return r, stat
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	return r, stat
}

func record(t *testing.T, conn *zk.Conn) (written, *zk.Stat) {
	t.Helper()
	return recordAt(t, conn, "/redlock")
}

// wakes are the znodes that waiters are called by.
func wakesAt(t *testing.T, conn *zk.Conn, root string) []string {
	t.Helper()
	names, _, err := conn.Children(root + "/wake")
	if !errors.Is(err, zk.ErrNoNode) {
		require.NoError(t, err)
	}
	return names
}

func wakes(t *testing.T, conn *zk.Conn) []string {
	t.Helper()
	return wakesAt(t, conn, "/redlock")
}

// A process that has hung up is not waited for.
func TestWaiterWhoHungUpIsPassedOver(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, alive, conn := node(t, s.Addr()), node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	for number := range 2 {
		dead := node(t, s.Addr())
		queue(t, dead, number)
		require.NoError(t, dead.Close())
	}
	next, last := queue(t, alive, 2), queue(t, alive, 3)
	release(t, n, "k", 1)
	next.mustBeCalled(t)
	require.False(t, acquire(t, n, "k", 2).Granted, "it is set aside")
	require.False(t, last.ask(t, 3).Granted, "for another")
	vote := next.ask(t, 4)
	require.True(t, vote.Granted)
	require.Empty(t, last.called)
	r, _ := record(t, conn)
	require.Len(t, r.Queue, 1, "the rest waits for the next release")

	release(t, alive, "k", 4)
	last.mustBeCalled(t)
	require.True(t, last.ask(t, 5).Granted)
	release(t, alive, "k", 5)
	require.True(t, acquire(t, n, "k", 6).Granted, "it is not as this node saw it last")
}

// Neither a place nor a setting aside nor a znode is left of a waiter who is gone.
func TestGoneWaiterLeavesNothing(t *testing.T) {
	t.Parallel()
	s := server(t)
	conn := connect(t, s.Addr(), 2*time.Minute)
	borrowing := func() *zknode.Node {
		return zknode.New(conn, zknode.Options{SessionTimeout: 2 * time.Minute, Durable: true})
	}
	holder := node(t, s.Addr())
	nothing := func() bool {
		r, _ := record(t, conn)
		return r.Aside == nil && len(r.Queue) == 0 && len(wakes(t, conn)) == 0
	}

	acquire(t, holder, "k", 1)
	queue(t, node(t, s.Addr()), 1).stop()
	require.Eventually(t, nothing, patience, time.Millisecond, "it had a place")

	w := queue(t, holder, 2)
	release(t, holder, "k", 1)
	w.mustBeCalled(t)
	w.stop()
	require.Eventually(t, nothing, patience, time.Millisecond, "it was called")
	require.True(t, acquire(t, holder, "k", 2).Granted)

	n := borrowing()
	queue(t, n, 3)
	require.NoError(t, n.Close())
	require.True(t, nothing(), "its node was closed, on a connection that goes on")

	n = borrowing()
	w = queue(t, n, 4)
	w.place.Hold = 0
	require.False(t, w.ask(t, 3).Queued)
	r, _ := record(t, conn)
	require.Empty(t, r.Queue, "it asked without wanting a place")
	w.stop()
	require.Eventually(t, nothing, patience, time.Millisecond, "it has a znode and no place")
	require.NoError(t, n.Close())

	n = node(t, s.Addr())
	unknown := &waiter{node: n, place: redlock.Place{Waiter: owner(5), Since: 5, Hold: time.Hour}}
	require.False(t, unknown.ask(t, 4).Queued, "nobody can be called")
	require.True(t, nothing())
}

// A waiter who leaves while its acquire is under way does not keep the place that
// it gets.
func TestPlaceOfAWaiterWhoHasLeft(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	queue(t, n, 1)
	w := watch(t, n, 2)
	queued, err := n.PlaceAfter(within(t, patience), w.stop, "k", w.place)
	require.NoError(t, err)
	require.True(t, queued)
	require.Eventually(t, func() bool {
		r, _ := record(t, conn)
		return len(r.Queue) == 1 && len(wakes(t, conn)) == 1
	}, patience, time.Millisecond)
}

// Writing a place into a record does not make the grant in it last.
func TestQueueKeepsDates(t *testing.T) {
	t.Parallel()
	s := server(t)
	holder, n, conn := node(t, s.Addr()), node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	vote := acquire(t, holder, "k", 1)
	_, stat := record(t, conn)
	granted := stat.Mtime
	first := queue(t, n, 1)
	queue(t, n, 2)
	r, stat := record(t, conn)
	require.Greater(t, stat.Mtime, granted)
	require.Equal(t, granted, r.Grant.From)
	require.EqualValues(t, 60000, r.Grant.TTL)

	_, err := holder.Confirm(within(t, patience), redlock.ConfirmRequest{Key: "k", Owner: owner(1), Fence: vote.Fence, Token: vote.Fence})
	require.NoError(t, err)
	r, _ = record(t, conn)
	require.Zero(t, r.Grant.From, "it is dated anew")
	require.LessOrEqual(t, r.Grant.TTL, int64(60000))
	require.Len(t, r.Queue, 2)

	release(t, holder, "k", 1)
	first.mustBeCalled(t)
	_, stat = record(t, conn)
	queue(t, n, 3)
	r, _ = record(t, conn)
	require.Equal(t, stat.Mtime, r.Aside.From)
	require.Len(t, r.Queue, 2)
}

// A grant that nobody gives up is free for everybody when it is over, and its queue
// is gone. Waiters find out when they ask.
func TestQueueHangsOnWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	next := 1
	for name, end := range map[string]func(*zknode.Node, *redlock.ManualClock){
		"session ended": func(holder *zknode.Node, _ *redlock.ManualClock) { require.NoError(t, holder.Close()) },
		"TTL over":      func(_ *zknode.Node, clock *redlock.ManualClock) { clock.Advance(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := redlock.NewManualClock(time.Now())
			holder := node(t, s.Addr(), func(o *zknode.Options) { o.Clock = clock })
			require.True(t, acquire(t, holder, "k", 1).Granted)
			w := queue(t, n, 1)
			end(holder, clock)
			freed(t, n, "k")
			next++
			require.True(t, acquire(t, n, "k", next).Granted, "it is set aside for nobody")
			require.Empty(t, w.called)
			r, _ := record(t, conn)
			require.Empty(t, r.Queue)
			w.mustQueue(t)
			require.Len(t, wakes(t, conn), 1)
			release(t, n, "k", next)
			w.mustBeCalled(t)
			w.stop()
			require.Eventually(t, func() bool {
				r, _ := record(t, conn)
				return r.Aside == nil
			}, patience, time.Millisecond)
		})
	}
}

// One whose session expired has lost what it is called by, and gets another with
// its place once it asks.
func TestWaiterWhoseSessionExpired(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	cut := node(t, proxy.Addr(), session(timeout))
	acquire(t, n, "k", 1)
	w := watch(t, cut, 1)
	ask := func() bool {
		req := w.request(2)
		req.TTL = timeout / 2
		vote, err := cut.Acquire(within(t, patience), req)
		return err == nil && vote.Queued
	}
	require.True(t, ask())
	proxy.Hold()
	require.Eventually(t, func() bool { return len(wakes(t, conn)) == 0 }, patience, tick)
	proxy.Cut()
	proxy.Pass()
	require.Eventually(t, func() bool { return ask() && len(wakes(t, conn)) == 1 }, patience, tick)
	r, _ := record(t, conn)
	require.Len(t, r.Queue, 1, "it has the place that it had")
	release(t, n, "k", 1)
	w.mustBeCalled(t)
}

// One whose connection was cut when it should have been called is called on the next.
func TestWaiterWhoseConnectionWasCut(t *testing.T) {
	t.Parallel()
	s := server(t)
	proxy := testserver.StartProxy(t, s.Addr())
	n, cut := node(t, s.Addr()), node(t, proxy.Addr())
	acquire(t, n, "k", 1)
	called, listening := queue(t, cut, 1), queue(t, cut, 2)
	proxy.Hold()
	proxy.Cut()
	release(t, n, "k", 1)
	proxy.Pass()
	called.mustBeCalled(t)
	require.Eventually(t, func() bool {
		vote, err := cut.Acquire(within(t, patience), called.request(2))
		return err == nil && vote.Granted
	}, patience, tick)
	require.Empty(t, listening.called)
	release(t, cut, "k", 2)
	listening.mustBeCalled(t)
}

// However many wait, each request to watch for them is one that a server takes.
func TestWatchesOfManyWaiters(t *testing.T) {
	t.Parallel()
	const many = 50_000
	paths := make([]string, many)
	for i := range paths {
		paths[i] = fmt.Sprintf("/redlock/wake/%032x", i)
	}
	for requests := 0; len(paths) > 0; requests++ {
		require.Less(t, requests, many/1000)
		request, rest := zknode.WatchRequest(paths)
		require.Less(t, len(request), 1<<20)
		require.Less(t, len(rest), len(paths))
		paths = rest
	}
}

// A place that is there, and its znode, are as good as new: the answer to the
// request that made them may have been lost.
func TestPlaceThatIsThere(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	one, other := queue(t, n, 1), queue(t, node(t, s.Addr()), 1)
	r, _ := record(t, conn)
	require.Len(t, r.Queue, 1)
	require.Len(t, wakes(t, conn), 1)
	release(t, n, "k", 1)
	one.mustBeCalled(t)
	other.mustBeCalled(t)
}

// A queue that is full refuses, and the record stays small.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	for number := range zknode.MostPlaces {
		queue(t, n, number)
	}
	vote := watch(t, n, zknode.MostPlaces).ask(t, 2)
	require.Equal(t, owner(1), vote.Holder)
	require.False(t, vote.Queued)
	data, _, err := conn.Get("/redlock/locks/k")
	require.NoError(t, err)
	require.Less(t, len(data), 8<<10)
}

// Calls are hints: where they are not possible, locks still work.
func TestCallsThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	_, err := conn.Create("/redlock/wake", nil, 0, zk.WorldACL(zk.PermRead|zk.PermCreate))
	require.NoError(t, err)
	queue(t, n, 1)
	release(t, n, "k", 1) // it may not remove the waiter's znode
	require.True(t, acquire(t, n, "k", 2).Granted)
}

// One that may not even have a znode is refused like anybody.
func TestWaiterWithoutRights(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	_, err := conn.Create("/redlock/wake", nil, 0, zk.WorldACL(zk.PermRead))
	require.NoError(t, err)
	vote := watch(t, n, 1).ask(t, 2)
	require.Equal(t, owner(1), vote.Holder)
	require.False(t, vote.Queued)
	r, _ := record(t, conn)
	require.Empty(t, r.Queue)
}

// Others' data in a record is no path to follow.
func TestPlacesThatAreNone(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	acquire(t, n, "k", 1)
	data, stat, err := conn.Get("/redlock/locks/k")
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(data, &all))
	all["queue"] = []map[string]any{{"waiter": "../locks/k", "hold_ms": 3600000}, {"waiter": "", "hold_ms": 3600000}}
	data, err = json.Marshal(all)
	require.NoError(t, err)
	_, err = conn.Set("/redlock/locks/k", data, stat.Version)
	require.NoError(t, err)
	release(t, n, "k", 1)
	require.True(t, acquire(t, n, "k", 2).Granted)
}

// The cost of waiting in round trips of whoever waits for it.
func TestRoundTripsOfWaiting(t *testing.T) {
	t.Parallel()
	s := server(t)
	var writes atomic.Int64
	counted := node(t, s.Addr(), func(o *zknode.Options) {
		o.Dialer = func(network, addr string, timeout time.Duration) (net.Conn, error) {
			conn, err := net.DialTimeout(network, addr, timeout)
			return counting{conn, &writes}, err
		}
	})
	cost := func(f func()) int64 {
		before := writes.Load()
		f()
		return writes.Load() - before
	}
	n := node(t, s.Addr())
	acquire(t, n, "k", 1)
	first := queue(t, n, 1) // creates what is over the waiters
	acquire(t, counted, "k", 2)

	w := watch(t, counted, 2)
	require.LessOrEqual(t, cost(func() { w.mustQueue(t) }), int64(3), "a look, the place, and listening, which is not waited for")
	require.Eventually(t, func() bool { return cost(func() { w.mustQueue(t) }) == 3 }, patience, tick, "it has a place")
	release(t, n, "k", 1)
	first.mustBeCalled(t)
	first.stop()
	w.mustBeCalled(t)
	require.EqualValues(t, 2, cost(func() { require.True(t, w.ask(t, 3).Granted) }), "a look and the grant")
	require.EqualValues(t, 0, cost(func() {
		w.stop()
		counted.Settle()
	}), "it has left nothing")
	require.EqualValues(t, 1, cost(func() { release(t, counted, "k", 3) }))

	acquire(t, counted, "k", 4)
	queue(t, n, 3)
	require.EqualValues(t, 3, cost(func() { release(t, counted, "k", 4) }), "waiters have changed the record")
}

// notified counts the calls of waiters.
type notified struct {
	*zknode.Node
	calls *atomic.Int64
}

func (n notified) Watch(key, waiter string, wake func()) func() {
	return n.Node.Watch(key, waiter, func() {
		n.calls.Add(1)
		wake()
	})
}

// A Locker whose clock stands still never asks by itself, and gets the lock all the
// same.
func TestLockerIsCalled(t *testing.T) {
	t.Parallel()
	s := server(t)
	conn := connect(t, s.Addr(), time.Minute)
	roots := []string{"/a", "/b", "/c"}
	var calls atomic.Int64
	locker := func(opts redlock.Options) *redlock.Locker {
		var nodes []redlock.Node
		for _, root := range roots {
			nodes = append(nodes, notified{node(t, s.Addr(), func(o *zknode.Options) { o.Root = root }), &calls})
		}
		l, err := redlock.New(nodes, opts)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close(within(t, patience))) })
		return l
	}
	holding := locker(redlock.Options{TTL: time.Minute, NodeTimeout: patience})
	waiting := locker(redlock.Options{TTL: time.Minute, NodeTimeout: patience, Clock: redlock.NewManualClock(time.Now())})

	held, err := holding.Lock(within(t, patience), "k")
	require.NoError(t, err)
	type result struct {
		lease *redlock.Lease
		err   error
	}
	got := make(chan result)
	go func() {
		lease, err := waiting.Lock(within(t, patience), "k")
		got <- result{lease, err}
	}()
	require.Eventually(t, func() bool {
		places := 0
		for _, root := range roots {
			r, _ := recordAt(t, conn, root)
			places += len(r.Queue)
		}
		return places >= 2 // the holder may not have the third
	}, patience, tick)
	require.Zero(t, calls.Load())
	require.NoError(t, held.Unlock(within(t, patience)))
	r := <-got
	require.NoError(t, r.err)
	require.GreaterOrEqual(t, calls.Load(), int64(2))
	require.Greater(t, r.lease.Token(), held.Token())
	require.NoError(t, r.lease.Unlock(within(t, patience)))
}
