package memnode

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/quorumlock/redlock"
)

// table is what a node remembers. It has neither lock nor clock: the Node holds
// the one and passes in the instants of the other.
type table struct {
	records        map[string]*record
	fenceRetention time.Duration
	purgedAt       time.Duration
	tombs          tombstones
}

// record is the memory of a key that was granted at least once.
type record struct {
	owner   string        // of the last grant; empty once released
	fence   uint64        // of the last grant
	until   time.Duration // when the last grant ends or ended
	counter uint64        // the largest fence or token

	asideFor string          // the waiter that the freed key is set aside for, until then
	queue    []redlock.Place // of those who wait, the oldest first
}

func (n *Node) newTable() *table {
	now := n.clock.Now()
	return &table{
		records:        make(map[string]*record),
		fenceRetention: n.opts.FenceRetention,
		purgedAt:       now,
		tombs:          newTombstones(now, n.opts.TombstoneRetention),
	}
}

// acquire takes a hint that the horizon has been applied to.
func (t *table) acquire(now time.Duration, req redlock.AcquireRequest) (redlock.Vote, error) {
	r := t.records[req.Key]
	switch {
	case r.heldBy(now, req.Owner):
		r.lengthen(now, req.TTL)
		return r.vote(true), nil
	case r.held(now) || r.isAside(now) && r.asideFor != req.Place.Waiter:
		v := r.refusal(now)
		v.Queued = r.enqueue(req.Place)
		return v, nil
	case t.tombs.has(req.Key, req.Owner):
		return r.refusal(now), nil
	}
	if r == nil {
		r = new(record)
	}
	if !r.isAside(now) {
		r.queue = nil
	}
	fence := max(r.counter+1, req.Hint)
	if fence > redlock.MaxFence {
		return redlock.Vote{}, fmt.Errorf("memnode: the fences of key %q are used up", req.Key)
	}
	*r = record{owner: req.Owner, fence: fence, counter: fence, until: now, queue: r.queue}
	r.lengthen(now, req.TTL)
	t.records[req.Key] = r
	return r.vote(true), nil
}

func (t *table) confirm(now time.Duration, req redlock.ConfirmRequest) redlock.Vote {
	r := t.records[req.Key]
	if !r.stands(now, req.Owner, req.Fence) {
		return r.vote(false)
	}
	r.counter = max(r.counter, req.Token)
	return r.vote(true)
}

func (t *table) extend(now time.Duration, req redlock.ExtendRequest) redlock.Vote {
	r := t.records[req.Key]
	if !r.stands(now, req.Owner, req.Fence) {
		return r.vote(false)
	}
	r.lengthen(now, req.TTL)
	return r.vote(true)
}

// release gives the waiter that is to be called, if there is one.
func (t *table) release(now time.Duration, req redlock.ReleaseRequest) string {
	t.tombs.add(req.Key, req.Owner)
	r := t.records[req.Key]
	if !r.heldBy(now, req.Owner) {
		return ""
	}
	r.owner, r.until = "", now
	return r.setAside(now)
}

func (t *table) inspect(now time.Duration, key string) redlock.NodeState {
	r := t.records[key]
	switch {
	case r == nil:
		return redlock.NodeState{}
	case !r.held(now):
		return redlock.NodeState{Counter: r.counter}
	}
	return redlock.NodeState{
		Held: true, Owner: r.owner, Fence: r.fence, Remaining: r.until - now, Counter: r.counter,
	}
}

// purge drops what may be forgotten. It looks at all records, but so seldom that
// a record is looked at a few times in its life: the cost per call is constant.
func (t *table) purge(now time.Duration) {
	t.tombs.purge(now)
	if now-t.purgedAt < t.fenceRetention/2 {
		return
	}
	t.purgedAt = now
	// A new map, because one that shrinks does not give its memory back.
	kept := make(map[string]*record)
	for key, r := range t.records {
		if now-r.until < t.fenceRetention {
			kept[key] = r
		}
	}
	t.records = kept
}

// leave takes a waiter out of the queue. What was set aside for it goes to the
// next, who is to be called.
func (t *table) leave(now time.Duration, key, waiter string) string {
	r := t.records[key]
	if r == nil {
		return ""
	}
	r.queue = slices.DeleteFunc(r.queue, func(p redlock.Place) bool { return p.Waiter == waiter })
	if !r.isAside(now) || r.asideFor != waiter {
		return ""
	}
	r.until = now
	return r.setAside(now)
}

// setAside keeps the freed key for whoever has waited for longest.
func (r *record) setAside(now time.Duration) string {
	r.asideFor = ""
	if len(r.queue) == 0 {
		return ""
	}
	next := r.queue[0]
	r.queue = r.queue[1:]
	r.asideFor, r.until = next.Waiter, now+next.Hold
	return next.Waiter
}

// enqueue keeps a place in the order of waiting.
func (r *record) enqueue(p redlock.Place) bool {
	if p.Waiter == "" {
		return false
	}
	if p.Hold == 0 {
		r.queue = slices.DeleteFunc(r.queue, func(q redlock.Place) bool { return q.Waiter == p.Waiter })
		return false
	}
	for _, q := range r.queue {
		if q.Waiter == p.Waiter {
			return true
		}
	}
	behind, _ := slices.BinarySearchFunc(r.queue, p.Since, func(q redlock.Place, since uint64) int {
		if q.Since <= since {
			return -1
		}
		return 1
	})
	r.queue = slices.Insert(r.queue, behind, p)
	return true
}

// The methods below that do not write take a nil record as that of a key never
// granted.

func (r *record) held(now time.Duration) bool {
	return r != nil && r.owner != "" && now < r.until
}

// isAside says that the key is free, but only for the waiter it is set aside for.
func (r *record) isAside(now time.Duration) bool {
	return r != nil && r.owner == "" && r.asideFor != "" && now < r.until
}

func (r *record) heldBy(now time.Duration, owner string) bool {
	return r.held(now) && r.owner == owner
}

func (r *record) stands(now time.Duration, owner string, fence uint64) bool {
	return r.heldBy(now, owner) && r.fence == fence
}

// lengthen makes the grant last for ttl from now, unless it lasts longer.
func (r *record) lengthen(now, ttl time.Duration) {
	if ttl > math.MaxInt64-now {
		ttl = math.MaxInt64 - now
	}
	r.until = max(r.until, now+ttl)
}

func (r *record) vote(granted bool) redlock.Vote {
	switch {
	case r == nil:
		return redlock.Vote{}
	case !granted:
		return redlock.Vote{Counter: r.counter}
	}
	return redlock.Vote{Granted: true, Fence: r.fence, Counter: r.counter}
}

// refusal answers an acquire.
func (r *record) refusal(now time.Duration) redlock.Vote {
	v := r.vote(false)
	if r.held(now) {
		v.Holder, v.Remaining = r.owner, r.until-now
	}
	return v
}
