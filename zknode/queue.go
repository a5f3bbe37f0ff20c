package zknode

import (
	"slices"
	"time"
)

// place is a waiter's place in the queue for a key.
type place struct {
	Waiter string `json:"waiter"`
	Since  uint64 `json:"since_us"`
	Hold   int64  `json:"hold_ms"`
}

// aside says that a free key is kept for a waiter.
type aside struct {
	Waiter string `json:"waiter"`
	Hold   int64  `json:"hold_ms"` // from when the record was written, if no date is given
	From   int64  `json:"from_ms,omitempty"`
}

// mostPlaces bounds a record. Whoever comes when it is full asks now and then.
const mostPlaces = 64

func (r record) hasPlace(waiter string) bool {
	return slices.ContainsFunc(r.Queue, func(p place) bool { return p.Waiter == waiter })
}

// enqueue keeps a place in the order of waiting.
func (r record) enqueue(p place) record {
	behind := slices.IndexFunc(r.Queue, func(q place) bool { return q.Since > p.Since })
	if behind < 0 {
		behind = len(r.Queue)
	}
	r.Queue = slices.Insert(slices.Clone(r.Queue), behind, p)
	return r
}

func (r record) without(waiter string) record {
	r.Queue = slices.DeleteFunc(slices.Clone(r.Queue), func(p place) bool { return p.Waiter == waiter })
	return r
}

// setAside keeps the free key for whoever has waited for longest.
func (r record) setAside() record {
	r.Aside = nil
	if len(r.Queue) > 0 {
		next := r.Queue[0]
		r.Aside, r.Queue = &aside{Waiter: next.Waiter, Hold: next.Hold}, r.Queue[1:]
	}
	return r
}

// dated is the record that is to replace this one. What it has of this one goes
// on counting from when it did.
func (s state) dated(next record) record {
	if g := s.Grant; g != nil && g == next.Grant && g.From == 0 {
		kept := *g
		kept.From = s.mtime
		next.Grant = &kept
	}
	if a := s.Aside; a != nil && a == next.Aside && a.From == 0 {
		kept := *a
		kept.From = s.mtime
		next.Aside = &kept
	}
	return next
}

// date is from when a grant or a setting aside counts, on the ensemble's clock.
func (s state) date(from int64) time.Duration {
	if from == 0 {
		from = s.mtime
	}
	return time.Duration(from) * time.Millisecond
}

// kept is what becomes of the lease if only the queue changes.
func (s state) kept() leaseOp {
	if s.leased {
		return keepLease
	}
	return ignoreLease
}

// isAside says that the key is free, but only for the waiter it is set aside for.
// The ensemble's clock may be set back, so no node waits for longer by its own.
func (n *Node) isAside(st state) bool {
	if st.Aside == nil || st.leased {
		return false
	}
	hold := time.Duration(st.Aside.Hold) * time.Millisecond
	now := n.clock.Now()
	clock, known := n.horizon.at(now)
	return now-st.seen < hold && (!known || clock < st.date(st.Aside.From)+hold)
}
