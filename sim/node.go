package sim

import (
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/protocol"
)

// Kind is a kind of node: what its grants' time is measured by, and what a
// restart leaves of it.
type Kind uint8

// The kinds of nodes.
const (
	TTLServer     Kind = iota // keys with a time to live by the wall clock, in memory, as Redis has
	LeaseRow                  // a row with an expiry by the wall clock, durable, as in a database
	SessionLock               // a lock that lives with a session: lost in a restart, its counter is not
	EphemeralNode             // an entry that the server's own session clock ends, durable, as ZooKeeper's
	MemoryNode                // records in a process's memory, by its steady clock, as memnode's
)

// kinds has what distinguishes them.
var kinds = [...]struct {
	name          string
	byWallClock   bool          // grants end by the wall clock, which can be set
	grain         time.Duration // of expiry; rounded up
	losesGrants   bool          // in a restart
	losesCounters bool
	queues        bool // keeps a queue of waiters, and calls them
}{
	TTLServer:     {name: "ttl", byWallClock: true, grain: time.Millisecond, losesGrants: true, losesCounters: true, queues: true},
	LeaseRow:      {name: "row", byWallClock: true, grain: time.Microsecond},
	SessionLock:   {name: "session", grain: time.Second, losesGrants: true},
	EphemeralNode: {name: "ephemeral", grain: 100 * time.Millisecond},
	MemoryNode:    {name: "memory", grain: 1, losesGrants: true, losesCounters: true, queues: true},
}

func (k Kind) String() string { return kinds[k].name }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads it.
func (k *Kind) UnmarshalText(text []byte) error {
	for i := range kinds {
		if kinds[i].name == string(text) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("sim: there is no kind of node %q", text)
}

// record is what a node remembers of the key.
type record struct {
	owner   uint32 // of the grant that stands, or stood last; zero once released
	aside   uint32 // the waiter that the key is set aside for instead
	fence   uint64 // of that grant
	until   int64  // when it ends, on the node's clock
	counter uint64 // largest fence or token
}

func (r *record) held(now int64) bool { return r.owner != 0 && now < r.until }

func (r *record) stands(now int64, owner uint32, fence uint64) bool {
	return r.held(now) && r.owner == owner && r.fence == fence
}

// node is one server.
type node struct {
	id        int
	kind      Kind
	server    int // itself, or the node whose other name it is
	wall      clock
	mono      clock
	rate      int64
	down      int // nested faults
	frozen    int
	suspended int
	full      int
	inbox     []event

	record
	queue       []place
	released    owners
	born        int64 // on its expiry clock: since when it has lost no grants
	life        int
	incarnation string
	past        []moment // for restarts from an older state

	// For the checkers only: true time.
	relied    Time // nobody relies on the grant that stands for longer
	lostUntil Time // somebody may rely until then on a grant that the node forgot
	leaptAt   Time
	lostAt    Time
	excused   Time // until then the node's lack of a grant is no sign of a fault
	lastEvent int32
	bar       int
}

// moment is a state that the node had since then.
type moment struct {
	at       Time
	record   record
	releases int // how many owners had been released
}

// owners is a set of released owners, and the order they came in.
type owners struct {
	set   []uint64
	order []uint32
}

func (o *owners) has(id uint32) bool {
	word := int(id >> 6)
	return word < len(o.set) && o.set[word]>>(id&63)&1 == 1
}

func (o *owners) add(id uint32) {
	word := int(id >> 6)
	for word >= len(o.set) {
		o.set = append(o.set, 0)
	}
	if o.set[word]>>(id&63)&1 == 0 {
		o.set[word] |= 1 << (id & 63)
		o.order = append(o.order, id)
	}
}

// cut forgets all but the first n.
func (o *owners) cut(n int) {
	for _, id := range o.order[n:] {
		o.set[id>>6] &^= 1 << (id & 63)
	}
	o.order = o.order[:n]
}

// expiryClock is the clock that ends grants.
func (n *node) expiryClock() *clock {
	if kinds[n.kind].byWallClock {
		return &n.wall
	}
	return &n.mono
}

// reply is a node's answer to a request.
type reply struct {
	granted     bool
	queued      bool // refused, and the waiter's place is kept
	failed      bool // an error: the fences are used up
	fence       uint64
	counter     uint64
	remaining   int64
	clock       int64
	age         int64
	incarnation string
}

// rules are the switches of a node's algebra, for nodes without a defence.
type rules struct {
	without Defence
	grain   int64
	horizon uint64 // hints above it are cut
}

// apply is the contract of redlock.Node as one function of a record.
func (r *record) apply(now int64, owner uint32, released bool, req *protocol.Request, rules rules) reply {
	switch req.Op {
	case protocol.Acquire:
		return r.acquire(now, owner, released, req, rules)
	case protocol.Confirm:
		ok := r.stands(now, owner, req.Fence) ||
			rules.without.Has(ConfirmByFence) && r.held(now) && r.owner == owner ||
			rules.without.Has(ConfirmByOwner)
		if ok {
			r.counter = max(r.counter, req.Token)
		}
		return reply{granted: ok, counter: r.counter}
	case protocol.Extend:
		if rules.without.Has(ExtendOnly) && !r.held(now) {
			r.owner, r.fence, r.until = owner, req.Fence, now+1
		}
		ok := r.stands(now, owner, req.Fence)
		if ok {
			r.lengthen(now, req.TTL, rules)
		}
		return reply{granted: ok, counter: r.counter}
	}
	if r.held(now) && (r.owner == owner || rules.without.Has(ReleaseByOwner)) {
		r.owner, r.until = 0, now
	}
	return reply{granted: true}
}

func (r *record) acquire(now int64, owner uint32, released bool, req *protocol.Request, rules rules) reply {
	switch {
	case r.held(now) && r.owner == owner:
		r.lengthen(now, req.TTL, rules)
		return reply{granted: true, fence: r.fence, counter: r.counter}
	case r.held(now):
		left := r.until - now
		return reply{counter: r.counter, remaining: max(1, left-left%rules.grain)}
	case released:
		return reply{counter: r.counter}
	}
	fence := max(r.counter+1, min(req.Hint, rules.horizon))
	if rules.without.Has(GrowingFences) {
		fence = max(r.counter, 1)
	}
	if fence > redlock.MaxFence {
		return reply{failed: true}
	}
	*r = record{owner: owner, fence: fence, counter: max(r.counter, fence), until: now}
	r.lengthen(now, req.TTL, rules)
	return reply{granted: true, fence: fence, counter: r.counter}
}

func (r *record) lengthen(now int64, ttl time.Duration, rules rules) {
	until := now + int64(ttl)
	if rules.without.Has(RoundUp) {
		until -= until % rules.grain
	} else if over := until % rules.grain; over > 0 {
		until += rules.grain - over
	}
	if rules.without.Has(KeepLonger) && r.until > now {
		r.until = until
		return
	}
	r.until = max(r.until, until)
}

// handle answers a request at a moment of true time.
func (n *node) handle(now Time, owner uint32, req *protocol.Request, without Defence) reply {
	local := n.expiryClock().read(now)
	before := n.record
	released := n.released.has(owner) && !without.Has(Tombstones)
	answer := n.apply(local, owner, released, req, rules{
		without: without,
		grain:   int64(kinds[n.kind].grain),
		horizon: n.horizon(now),
	})
	if req.Op == protocol.Release {
		n.released.add(owner)
	}
	if answer.granted && req.TTL > 0 {
		if n.owner != before.owner || n.fence != before.fence {
			n.relied = 0
		}
		n.relied = max(n.relied, now+Time(req.TTL))
	}
	if n.record != before || req.Op == protocol.Release {
		n.remember(now)
	}
	n.show(now, &answer)
	return answer
}

// horizon is the largest hint that the node takes.
func (n *node) horizon(now Time) uint64 {
	return uint64(max(0, n.wall.read(now)/1000+redlock.HintHorizon.Microseconds()))
}

// show adds to an answer what each shows of its node.
func (n *node) show(now Time, answer *reply) {
	if kinds[n.kind].byWallClock {
		answer.clock = n.wall.read(now)
	}
	if kinds[n.kind].losesGrants {
		answer.age = max(1, n.expiryClock().read(now)-n.born)
	}
	answer.incarnation = n.incarnation
}

// remembered is how many states of the past a node can be set back by.
const remembered = 128

func (n *node) remember(now Time) {
	if len(n.past) == 2*remembered {
		n.past = append(n.past[:0], n.past[remembered:]...)
	}
	n.past = append(n.past, moment{now, n.record, len(n.released.order)})
}

// forget is a restart of the server: with the state of some time ago, or with
// none (all), as a new life. A node that keeps its data keeps it, unless all or
// ago say otherwise.
func (n *node) forget(now Time, all bool, ago time.Duration) {
	before := n.record
	switch {
	case all:
		n.record = record{}
		n.released.cut(0)
	case ago > 0:
		n.recall(now - Time(ago))
	default:
		if kinds[n.kind].losesGrants {
			n.owner, n.until = 0, 0
		}
		if kinds[n.kind].losesCounters {
			n.record = record{}
			n.released.cut(0)
		}
	}
	n.noteLoss(now, before)
	n.remember(now)
}

// noteLoss keeps for the checkers how long somebody may rely on a grant that is
// lost: a TTL from when it was made or extended, whatever the node's clock does.
func (n *node) noteLoss(now Time, before record) {
	n.queue = n.queue[:0] // it lives in memory
	if n.record == before {
		return
	}
	n.lostAt = now
	if local := n.expiryClock().read(now); before.held(local) && !n.stands(local, before.owner, before.fence) {
		n.lostUntil = max(n.lostUntil, n.relied)
	}
}

// recall goes back to the state of a moment.
func (n *node) recall(then Time) {
	for i := len(n.past) - 1; i >= 0; i-- {
		if n.past[i].at <= then {
			n.record = n.past[i].record
			n.released.cut(min(n.past[i].releases, len(n.released.order)))
			return
		}
	}
	n.record = record{}
	n.released.cut(0)
}

// rebirth begins a new life: another process, perhaps on other data.
func (n *node) rebirth(now Time) {
	n.life++
	n.born = n.expiryClock().read(now) // a server reckons its uptime by the same clock
	n.incarnation = fmt.Sprintf("n%d.%d", n.server+1, n.life)
}

// expires is the true time at which the grant that stands ends, if nothing
// happens to it or to the clock.
func (n *node) expires(now Time) Time { return n.expiryClock().when(now, n.until) }
