package redisnode

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// counting is what a native acquire does with the counter.
type counting uint8

const (
	raise        counting = iota // it is there, and is kept for long enough
	raiseAndKeep                 // it may be there
	create                       // most likely it is not
)

// keepShare is the share of the retention for which a counter is kept longer than
// need be, and need not be told of again.
const keepShare = 8

// kept remembers which counters the server was lately told to keep, so that it
// need not be told each time. It grows with the number of keys that come back, up
// to a bound. Beyond it, it forgets those that would be due first: they cost the
// server one command more.
type kept struct {
	seed      maphash.Seed
	sets      []keptSet // a power of two
	displaced int       // that were still of use, since it last grew

	// Keys that it does not remember are taken to be new if those before were. After
	// a mistake, so many of them are not.
	patience, wait, guesses int
	present                 atomic.Bool // set after a mistake, by whoever sees it
}

// keptSet is where a key can be, a line of the processor's cache: for each of eight
// keys the upper bits of its hash and, in those that untilBits leave, the minute of
// the local clock from which it is due. (Every 32 years that begins anew.)
type keptSet [8]uint64

const (
	untilBits = 24
	untilMask = 1<<untilBits - 1

	minKept, maxKept = 1 << 6, 1 << 13 // sets: 4 KiB and 512 KiB
)

// A mistake costs a script and a round trip, so programs that lock a few keys, most
// likely not for the first time, shall make none.
const minPatience, maxPatience = 16, 1 << 12

func newKept() *kept {
	return &kept{seed: maphash.MakeSeed(), sets: make([]keptSet, minKept), patience: minPatience, wait: minPatience}
}

// counting says what an acquire has to do with the counter, and takes it that it
// will be done.
func (k *kept) counting(key string, ttl, retention time.Duration, now time.Duration) counting {
	switch {
	case !k.due(key, ttl, retention, now):
		return raise
	case k.isNew():
		return create
	}
	return raiseAndKeep
}

// isNew guesses that there is no counter yet.
func (k *kept) isNew() bool {
	if k.present.Load() {
		k.present.Store(false)
		k.patience = min(2*k.patience, maxPatience)
		k.wait, k.guesses = k.patience, 0
	}
	if k.wait > 0 {
		k.wait--
		return false
	}
	if k.guesses++; k.guesses%minPatience == 0 {
		k.patience = max(k.patience/2, minPatience)
	}
	return true
}

// due says that a counter has to be kept anew for an acquire, and takes it that it
// will be.
func (k *kept) due(key string, ttl, retention time.Duration, now time.Duration) bool {
	if 2*ttl > retention {
		return true
	}
	hash, minute := maphash.String(k.seed, key), uint64(now/time.Minute)&untilMask
	set := k.setOf(hash)
	for _, known := range set {
		if (known^hash)>>untilBits == 0 && minute < known&untilMask {
			return false
		}
	}
	until := uint64((now+retention/keepShare)/time.Minute) & untilMask
	if k.put(hash&^untilMask|until, set) > minute {
		k.displaced++
	}
	if k.displaced > len(k.sets)/16 && len(k.sets) < maxKept {
		k.grow()
	}
	return true
}

func (k *kept) setOf(hash uint64) *keptSet {
	return &k.sets[hash>>untilBits&uint64(len(k.sets)-1)]
}

// put notes a key, in the place of itself, or of the one that is due first; and
// says when that would have been.
func (k *kept) put(entry uint64, set *keptSet) (displaced uint64) {
	first := 0
	for i, known := range set {
		if (known^entry)>>untilBits == 0 {
			set[i] = entry
			return 0
		}
		if known&untilMask < set[first]&untilMask {
			first = i
		}
	}
	displaced, set[first] = set[first]&untilMask, entry
	return displaced
}

func (k *kept) grow() {
	before := k.sets
	k.sets, k.displaced = make([]keptSet, min(4*len(before), maxKept)), 0
	for i := range before {
		for _, known := range before[i] {
			k.put(known, k.setOf(known))
		}
	}
}
