package memnode

import "time"

// tombstones are the released owners. They are kept in two generations: once a
// retention the older is dropped whole, so that each stays for between one and
// two retentions, and none costs more than its entry in a map.
type tombstones struct {
	retention  time.Duration
	turnedAt   time.Duration
	young, old map[tombstone]struct{}
}

// tombstone says that owner is done with key.
type tombstone struct{ key, owner string }

func newTombstones(now, retention time.Duration) tombstones {
	return tombstones{retention: retention, turnedAt: now, young: make(map[tombstone]struct{})}
}

// add keeps the owner for a retention from now, even if it was there already: a
// purge comes before it.
func (s *tombstones) add(key, owner string) {
	s.young[tombstone{key, owner}] = struct{}{}
}

func (s *tombstones) has(key, owner string) bool {
	t := tombstone{key, owner}
	if _, ok := s.young[t]; ok {
		return true
	}
	_, ok := s.old[t]
	return ok
}

func (s *tombstones) purge(now time.Duration) {
	passed := now - s.turnedAt
	if passed < s.retention {
		return
	}
	s.old = s.young
	if passed >= 2*s.retention {
		// Nothing was added in the last retention, or there would have been a
		// purge before it.
		s.old = nil
	}
	s.young = make(map[tombstone]struct{})
	s.turnedAt = now
}
