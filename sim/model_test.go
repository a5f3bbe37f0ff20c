package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/protocol"
	"github.com/quorumlock/redlock/nodetest"
)

// The models keep the same rules as real servers, by the same tests, in virtual
// time: else a world would be of nodes that there are not.
func TestModelsKeepTheContract(t *testing.T) {
	for kind := range kinds {
		t.Run(kinds[kind].name, func(t *testing.T) {
			m := &modelTime{}
			nodetest.Run(t, func(*testing.T) redlock.Node { return &model{time: m, kind: Kind(kind), keys: map[string]*node{}} },
				nodetest.Sleep(m.sleep), nodetest.Grain(max(time.Millisecond, kinds[kind].grain)),
				nodetest.Restart(func(_ *testing.T, n redlock.Node) { n.(*model).restart() }),
				nodetest.Freeze(func(_ *testing.T, n redlock.Node) func() {
					return n.(*model).freeze()
				}))
		})
	}
}

type modelTime struct{ now Time }

func (m *modelTime) sleep(d time.Duration) { m.now += Time(d) }

// model is a Node of one model node per key.
type model struct {
	mu     sync.Mutex
	time   *modelTime
	kind   Kind
	keys   map[string]*node
	owners []string
	wakes  map[uint32]func() // by the number of a waiter, which are owners too
	frozen bool
	lives  int
	lost   Time
}

var errFrozen = errors.New("no answer")

func (m *model) node(ctx context.Context, key string) (*node, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case key == "" || len(key) > redlock.MaxKeyLength:
		return nil, fmt.Errorf("a key of %d bytes", len(key))
	case m.frozen:
		m.mu.Unlock()
		<-ctx.Done()
		m.mu.Lock()
		return nil, errors.Join(errFrozen, ctx.Err())
	}
	n := m.keys[key]
	if n == nil {
		n = &node{kind: m.kind, wall: clock{shown: wallOrigin + int64(16*365*24*time.Hour)}, mono: clock{shown: bootOrigin}}
		n.incarnation = fmt.Sprintf("%p.%d", m, m.lives)
		n.born = n.expiryClock().read(m.lost)
		m.keys[key] = n
	}
	return n, nil
}

func (m *model) freeze() (thaw func()) {
	set := func(frozen bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.frozen = frozen
	}
	set(true)
	return func() { set(false) }
}

func (m *model) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lives++
	m.lost = m.time.now
	for _, n := range m.keys {
		n.forget(m.time.now, false, 0)
		n.born = n.expiryClock().read(m.time.now)
		n.incarnation = fmt.Sprintf("%p.%d", m, m.lives)
	}
}

func (m *model) id(owner string) uint32 {
	for i, o := range m.owners {
		if o == owner {
			return uint32(i + 1)
		}
	}
	m.owners = append(m.owners, owner)
	return uint32(len(m.owners))
}

var _ redlock.Waker = (*model)(nil)

// Watch implements redlock.Waker; nodes that keep no queues never call.
func (m *model) Watch(key, waiter string, wake func()) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.id(waiter)
	if m.wakes == nil {
		m.wakes = map[uint32]func(){}
	}
	m.wakes[id] = wake
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.wakes, id)
		if n := m.keys[key]; n != nil {
			m.call(n, n.makeWay(m.time.now, id, stays))
		}
	}
}

// stays says of every waiter that its process is connected.
func stays(*node, place) bool { return true }

// call wakes a waiter, or hears that it waits no longer and goes on to the next.
func (m *model) call(n *node, p place) {
	for p.waiter != 0 {
		if wake := m.wakes[p.waiter]; wake != nil {
			wake()
			return
		}
		p = n.makeWay(m.time.now, p.waiter, stays)
	}
}

// attend has the node answer, with its queue if it keeps one.
func (m *model) attend(n *node, owner uint32, req *protocol.Request, p redlock.Place) reply {
	if !kinds[m.kind].queues {
		return n.handle(m.time.now, owner, req, 0)
	}
	at := place{since: int64(p.Since), hold: p.Hold}
	if p.Waiter != "" {
		at.waiter = m.id(p.Waiter)
	}
	answer, next := n.attend(m.time.now, owner, req, at, 0, stays)
	m.call(n, next)
	return answer
}

func (m *model) ask(ctx context.Context, key, owner string, req protocol.Request, p redlock.Place) (redlock.Vote, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.node(ctx, key)
	if err != nil {
		return redlock.Vote{}, err
	}
	r := m.attend(n, m.id(owner), &req, p)
	if r.failed {
		return redlock.Vote{}, errors.New("the fences are used up")
	}
	v := redlock.Vote{Granted: r.granted, Counter: r.counter, Queued: r.queued, Remaining: time.Duration(r.remaining), Incarnation: r.incarnation, Age: time.Duration(r.age)}
	if r.granted && req.Op != protocol.Release {
		v.Fence = n.fence
	}
	if r.clock != 0 {
		v.Clock = time.Unix(0, r.clock)
	}
	if req.Op == protocol.Acquire && r.remaining > 0 {
		v.Holder = m.owners[n.owner-1]
	}
	return v, nil
}

func (m *model) Name() string { return "model" }

func (m *model) Acquire(ctx context.Context, r redlock.AcquireRequest) (redlock.Vote, error) {
	return m.ask(ctx, r.Key, r.Owner, protocol.Request{Op: protocol.Acquire, TTL: r.TTL, Hint: r.Hint}, r.Place)
}

func (m *model) Confirm(ctx context.Context, r redlock.ConfirmRequest) (redlock.Vote, error) {
	return m.ask(ctx, r.Key, r.Owner, protocol.Request{Op: protocol.Confirm, Fence: r.Fence, Token: r.Token}, redlock.Place{})
}

func (m *model) Extend(ctx context.Context, r redlock.ExtendRequest) (redlock.Vote, error) {
	return m.ask(ctx, r.Key, r.Owner, protocol.Request{Op: protocol.Extend, Fence: r.Fence, TTL: r.TTL}, redlock.Place{})
}

func (m *model) Release(ctx context.Context, r redlock.ReleaseRequest) error {
	_, err := m.ask(ctx, r.Key, r.Owner, protocol.Request{Op: protocol.Release, Wake: true}, redlock.Place{})
	return err
}

func (m *model) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.node(ctx, key)
	if err != nil {
		return redlock.NodeState{}, err
	}
	local := n.expiryClock().read(m.time.now)
	s := redlock.NodeState{Counter: n.counter, Incarnation: n.incarnation}
	if kinds[m.kind].byWallClock {
		s.Clock = time.Unix(0, n.wall.read(m.time.now))
	}
	if kinds[m.kind].losesGrants {
		s.Age = time.Duration(max(1, local-n.born))
	}
	if n.held(local) {
		s.Held, s.Owner, s.Fence, s.Remaining = true, m.owners[n.owner-1], n.fence, time.Duration(n.until-local)
		s.Remaining = max(1, s.Remaining-s.Remaining%kinds[m.kind].grain)
	}
	return s, nil
}

// A clock that is read when it says it would show something shows it, and did not
// a moment before.
func TestClocksInvert(t *testing.T) {
	for seed := range uint64(2000) {
		d := draw{newChooser(seed, 1, binary.LittleEndian.AppendUint64(nil, seed*7919))}
		c := clock{shown: d.below(0, 1e18), ppm: d.below(0, 400_000) - 200_000}
		now := Time(d.below(0, 1e12))
		local := c.read(now) + d.below(0, 1e13)
		at := c.when(now, local)
		require.GreaterOrEqual(t, c.read(at), local)
		if at > now {
			require.Less(t, c.read(at-1), local)
		}
	}
}
