package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/protocol"
)

// desk is a node at which owners and waiters ask, one after another.
type desk struct {
	t    *testing.T
	n    node
	now  Time
	gone map[uint32]bool // waiters whose processes are known to be gone
}

func newDesk(t *testing.T) *desk {
	return &desk{t: t, n: node{wall: clock{shown: wallOrigin}}, gone: map[uint32]bool{}}
}

func (d *desk) ask(op protocol.Op, owner uint32, p place) (reply, place) {
	req := protocol.Request{Op: op, TTL: time.Second, Wake: true}
	return d.n.attend(d.now, owner, &req, p, 0, func(_ *node, p place) bool { return !d.gone[p.waiter] })
}

func (d *desk) acquire(owner uint32, p place) reply {
	r, next := d.ask(protocol.Acquire, owner, p)
	require.Zero(d.t, next)
	return r
}

func (d *desk) release(owner uint32) (called uint32) {
	_, next := d.ask(protocol.Release, owner, place{})
	return next.waiter
}

func waiterOf(number uint32, since int64) place {
	return place{waiter: number, since: since, hold: 50 * time.Millisecond}
}

func TestAFreedKeyIsSetAsideForTheOldestWaiter(t *testing.T) {
	d := newDesk(t)
	young, old := waiterOf(1, 200), waiterOf(2, 100)
	require.True(t, d.acquire(1, place{}).granted)
	require.False(t, d.acquire(2, place{}).queued, "it did not ask for a place")
	require.True(t, d.acquire(3, young).queued)
	require.True(t, d.acquire(4, old).queued)
	require.True(t, d.acquire(5, young).queued, "it has its place already")
	require.Len(t, d.n.queue, 2)
	require.Zero(t, d.release(9), "nobody's release frees it")
	require.Equal(t, uint32(2), d.release(1))

	r := d.acquire(6, place{})
	require.False(t, r.granted || r.queued)
	require.Zero(t, r.remaining, "nobody holds it")
	require.True(t, d.acquire(7, young).queued)
	r = d.acquire(8, old)
	require.True(t, r.granted)
	require.Equal(t, uint64(2), r.fence)
	require.Equal(t, uint32(1), d.release(8), "the queue went on with the grant")
}

func TestWhatIsSetAsideLapsesAndItsQueueToo(t *testing.T) {
	d := newDesk(t)
	require.True(t, d.acquire(1, place{}).granted)
	require.True(t, d.acquire(2, waiterOf(1, 100)).queued)
	require.True(t, d.acquire(3, waiterOf(2, 200)).queued)
	require.Equal(t, uint32(1), d.release(1))
	d.now += Time(49 * time.Millisecond)
	require.False(t, d.acquire(4, place{}).granted)
	d.now += Time(2 * time.Millisecond)
	require.True(t, d.acquire(4, place{}).granted)
	require.Zero(t, d.release(4), "nobody is in the queue")

	require.True(t, d.acquire(5, place{}).granted)
	require.True(t, d.acquire(6, waiterOf(3, 300)).queued)
	d.now += Time(2 * time.Second)
	require.True(t, d.acquire(7, place{}).granted, "the grant expired")
	require.Zero(t, d.release(7))
}

func TestWaitersThatHaveHungUpArePassedOver(t *testing.T) {
	d := newDesk(t)
	require.True(t, d.acquire(1, place{}).granted)
	require.True(t, d.acquire(2, waiterOf(1, 100)).queued)
	require.True(t, d.acquire(3, waiterOf(2, 200)).queued)
	d.gone[1] = true
	require.Equal(t, uint32(2), d.release(1))
}

// A node that restarts has no queue, and nothing set aside.
func TestQueuesAreNotDurable(t *testing.T) {
	d := newDesk(t)
	require.True(t, d.acquire(1, place{}).granted)
	require.True(t, d.acquire(2, waiterOf(1, 100)).queued)
	require.True(t, d.acquire(3, waiterOf(2, 200)).queued)
	require.Equal(t, uint32(1), d.release(1))
	d.n.forget(d.now, false, 0)
	require.True(t, d.acquire(4, place{}).granted)
	require.Zero(t, d.release(4))
}

// Leases are passed on in order, each with a token above the last, and another
// client is not kept waiting for ever.
func TestPassedLeases(t *testing.T) {
	r := Run(story(t, "handoff-chain").Config)
	require.Greater(t, r.Stats.Passed, 100)
	var last *attempt
	passed := 0
	for _, a := range r.world.attempts {
		if a.heir == nil || !a.heir.taken {
			continue
		}
		require.Greater(t, a.heir.token, a.token)
		require.GreaterOrEqual(t, a.heir.handed, a.ended)
		require.Equal(t, a.owner, a.heir.owner)
		if last == nil || last.heir != a {
			passed = 0
		}
		passed++
		require.LessOrEqual(t, passed, r.Config.Handoffs)
		last = a
	}
	require.Greater(t, r.world.clients[1].leases, 20)
	require.Equal(t, r.Stats.Accepted, r.Stats.Writes)
}

// A waiter that is called asks at once; one that hears nothing asks all the same.
func TestCallsOnlySaveTime(t *testing.T) {
	cfg := Config{Seed: 1, Clients: 2, TTL: 10 * time.Second, HealAt: 20 * time.Second,
		Work: Work{Hold: 300 * time.Millisecond, Think: 10 * time.Millisecond, Times: 20, Exact: true}}
	heard := Run(cfg)
	cfg.DeafPPM = million
	deaf := Run(cfg)
	require.Equal(t, Safe, heard.Verdict)
	require.Equal(t, Safe, deaf.Verdict)
	require.NotZero(t, heard.Stats.Calls)
	require.Equal(t, heard.Stats.Acquired, deaf.Stats.Acquired)
	require.Less(t, heard.Stats.LongestWait, 400*time.Millisecond)
	require.Greater(t, deaf.Stats.Waited, heard.Stats.Waited)
}

// A stream keeps the order of one owner's requests, so its releases need not be
// remembered: nothing of the owner's comes after them.
func TestOrderedStreamsNeedNoTombstones(t *testing.T) {
	ran := 0
	for seed := uint64(0); ran < 60; seed++ {
		cfg := Draw(seed)
		if cfg.Alias {
			continue // two streams, to one server
		}
		ran++
		cfg.Ordered, cfg.DuplicatesPPM, cfg.Without = true, 0, Tombstones
		r := Run(cfg)
		require.NotEqual(t, Violated, r.Verdict, "seed %d: %v", seed, r.Violations)
	}
}

// Whoever leaves a queue is not waited for, and what was set aside for it goes to
// the next at once.
func TestWaitersMakeWay(t *testing.T) {
	d := newDesk(t)
	require.True(t, d.acquire(1, place{}).granted)
	for i := range uint32(3) {
		require.True(t, d.acquire(2, waiterOf(i+1, int64(i))).queued)
	}
	there := func(*node, place) bool { return true }
	require.Zero(t, d.n.makeWay(d.now, 2, there), "nothing was set aside yet")
	require.Equal(t, uint32(1), d.release(1))
	require.Equal(t, uint32(3), d.n.makeWay(d.now, 1, there).waiter)
	require.Zero(t, d.n.makeWay(d.now, 1, there), "twice is as good as once")
	require.True(t, d.acquire(3, waiterOf(3, 2)).granted)
}
