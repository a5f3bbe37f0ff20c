package redisnode

import (
	"strconv"
	"strings"
	"sync"
)

// keyNames are the names that a lock's key has on the server.
type keyNames struct {
	lock    string // holds the owner, its fence, and the queue; see lua/common.lua
	counter counter
	fences  string // holds the counter, among others
}

// newKeyNames puts the key into the hash tag of all names of its own, so that a
// cluster keeps them in one slot. The tag ends at the first '}', so a '}' in the key
// is written "%7D", and for the sake of that a '%' is written "%25": different keys
// have different names. All other bytes stand for themselves.
func newKeyNames(prefix, key string) keyNames {
	tag := tagOf(key)
	at := counterOf(tag)
	return keyNames{
		lock:    prefix + "{" + tag + "}",
		counter: at,
		fences:  prefix + "{" + strconv.Itoa(at.bucketTag()) + "}" + fencesSuffix,
	}
}

func tagOf(key string) string {
	if strings.IndexByte(key, '%') >= 0 || strings.IndexByte(key, '}') >= 0 {
		return tagEscaper.Replace(key)
	}
	return key
}

var tagEscaper = strings.NewReplacer("%", "%25", "}", "%7D")

// of lists the keys of a script in the order of lua/common.lua. The tombstone is
// what bars an owner that has released.
func (k keyNames) of(owner string) []string {
	return []string{k.lock, k.fences, k.tombstone(owner)}
}

func (k keyNames) tombstone(owner string) string { return k.lock + tombstoneInfix + owner }

const (
	fencesSuffix   = ":fences"
	tombstoneInfix = ":released:"
)

// counter says where the fences of a key are counted: in one of a million counters,
// which the key shares with others, by a hash of it. A counter that other keys raise
// too gives larger fences than need be and no other harm. So there are few, and none
// has to be forgotten.
//
// They stand in a sorted set for each slot of a cluster, where the key's lock is, too.
// A set of so few is kept as a list by the server, in little memory.
type counter struct {
	bucket uint16 // the slot
	member uint16
}

const (
	clusterSlots   = 1 << 14
	bucketCounters = 1 << 6
)

// counterOf hashes a key as it is written in a hash tag: by CRC-16 (XMODEM), which
// is what clusters go by, and for the member by FNV-1a. All programs must do the same.
func counterOf(tag string) counter {
	crc, fnv := uint16(0), uint32(2166136261)
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
		fnv = (fnv ^ uint32(tag[i])) * 16777619
	}
	return counter{crc % clusterSlots, uint16(fnv>>16) % bucketCounters}
}

var crc16 = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
		table[i] = crc
	}
	return table
}()

// bucketTag is a number that as a hash tag gives the bucket's slot.
func (c counter) bucketTag() int { return int(bucketTags()[c.bucket]) }

var bucketTags = sync.OnceValue(func() *[clusterSlots]uint32 {
	tags := new([clusterSlots]uint32)
	for found, n := 0, uint32(1); found < clusterSlots; n++ {
		if slot := counterOf(strconv.Itoa(int(n))).bucket; tags[slot] == 0 {
			tags[slot] = n
			found++
		}
	}
	return tags
})

// appendFences writes the name of the key's counters as a string of the protocol.
func (n *Node) appendFences(b []byte, at counter) []byte {
	var buf [20]byte
	return appendName(b, n.prefix, strconv.AppendInt(buf[:0], int64(at.bucketTag()), 10), fencesSuffix, "")
}

// appendKey writes the name of the lock with something behind it as a string of
// the protocol. It is newKeyNames without a string made for it.
func (n *Node) appendKey(b []byte, key, infix, end string) []byte {
	return appendName(b, n.prefix, tagOf(key), infix, end)
}

func appendName[T string | []byte](b []byte, prefix string, key T, infix, end string) []byte {
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(prefix)+len(key)+len(infix)+len(end)+len("{}")), 10)
	b = append(append(append(b, "\r\n"...), prefix...), '{')
	b = append(append(append(b, key...), '}'), infix...)
	return append(append(b, end...), "\r\n"...)
}

// keyOf gives the key that a lock name stands for.
func keyOf(prefix, lock string) (string, bool) {
	key, ok := strings.CutPrefix(lock, prefix+"{")
	if !ok || !strings.HasSuffix(key, "}") {
		return "", false
	}
	return tagUnescaper.Replace(key[:len(key)-1]), true
}

var tagUnescaper = strings.NewReplacer("%25", "%", "%7D", "}")
