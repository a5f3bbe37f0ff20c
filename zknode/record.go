package zknode

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// record is what the znode of a key holds. Who holds the key is written there
// and not in the lease, so that one read tells everything at one instant: the
// record, its age, and whether the lease is there.
type record struct {
	ID       string      `json:"id,omitempty"` // the name of a child of the znode; see Node.write
	Counter  uint64      `json:"counter"`      // the largest fence or token
	Grant    *grant      `json:"grant,omitempty"`
	Released []tombstone `json:"released,omitempty"`
	Aside    *aside      `json:"aside,omitempty"` // of a free key
	Queue    []place     `json:"queue,omitempty"` // of those who wait, the oldest first
}

// grant counts only as long as the lease is there.
type grant struct {
	Owner   string `json:"owner"`
	Fence   uint64 `json:"fence"`
	Session string `json:"session"` // whose client ends it; see lane.session
	TTL     int64  `json:"ttl_ms"`  // from when the record was written, if no date is given
	From    int64  `json:"from_ms,omitempty"`
}

// tombstone is of an owner that was released by a program that it did not come
// from.
type tombstone struct {
	Owner string `json:"owner"`
	At    int64  `json:"at_ms"` // on the ensemble's clock
}

// mostTombstones bounds a record. They come of unlocking by force, so there is
// hardly ever more than one.
const mostTombstones = 64

var errNotOurs = errors.New("its znode holds other data; set another Options.Root")

func parseRecord(data []byte) (record, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("%w (%w)", errNotOurs, err)
	}
	if r.ID != "" && !validID(r.ID) {
		return record{}, errNotOurs
	}
	if g := r.Grant; r.Counter > redlock.MaxFence || g != nil && (g.Owner == "" || g.Fence > redlock.MaxFence) {
		return record{}, errNotOurs
	}
	return r, nil
}

// idLength is how long a record's ID is. It has to differ only from those that the
// same key had before.
const idLength = 16

// validID says that a record's ID is one that write makes, and no path.
func validID(id string) bool {
	_, err := hex.DecodeString(id)
	return err == nil && len(id) == idLength
}

func (r record) encode() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // it has nothing that cannot be encoded
	}
	return data
}

func (r record) released(owner string) bool {
	for _, t := range r.Released {
		if t.Owner == owner {
			return true
		}
	}
	return false
}

// bury adds a tombstone and drops those that are older than keep. now is the
// ensemble's clock.
func (r record) bury(owner string, now, keep time.Duration) record {
	kept := make([]tombstone, 0, len(r.Released)+1)
	for _, t := range r.Released {
		if t.Owner != owner && t.At >= (now-keep).Milliseconds() {
			kept = append(kept, t)
		}
	}
	kept = append(kept, tombstone{Owner: owner, At: now.Milliseconds()})
	r.Released = kept[max(0, len(kept)-mostTombstones):]
	return r
}

// state is a key as it was at some instant.
type state struct {
	exists  bool          // the key's znode does
	version int32         // of its data
	mtime   int64         // when its data were written, in ms on the ensemble's clock; 0 if unknown
	leased  bool          // the lease is there
	seen    time.Duration // when this node saw it like this, as early as it remembers
	record
}

// holder is the grant in force. One without a lease is over: its session ended.
func (s state) holder() *grant {
	if !s.leased {
		return nil
	}
	if s.Grant == nil {
		return &grant{Owner: "something that is no lock: a child of the key's znode"}
	}
	return s.Grant
}

func (s state) heldBy(owner string) bool {
	g := s.holder()
	return g != nil && g.Owner == owner
}

// with is the record with a grant instead of what it has.
func (r record) with(g *grant) record {
	r.Grant, r.Aside = g, nil
	if g != nil {
		r.Counter = max(r.Counter, g.Fence)
	}
	return r
}

// escape makes a key the name of a znode: letters, digits and some punctuation
// stay, all else becomes %XX, and so does a dot that begins the name, for "." and
// ".." mean something. No two keys have one name.
func escape(key string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if plain(c) && (c != '.' || i > 0) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~:,=+@!", c) >= 0
}

// milliseconds rounds up, because a grant must never be shorter than asked.
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(1, ms)
}
