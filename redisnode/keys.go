package redisnode

import (
	"strconv"
	"strings"
	"sync"
)

// keyNames are the names that a lock's key has on the server.
type keyNames struct {
	lock   string // holds the owner and its fence; see lua/common.lua
	fences string // holds the counter, among others
	at     int    // where, in bytes
}

// namesOf puts the key into the hash tag of its names, so that a cluster keeps them
// in one slot. The tag ends at the first '}', so a '}' in the key is written "%7D",
// and for the sake of that a '%' is written "%25": different keys have different
// names. All other bytes stand for themselves.
func (n *Node) namesOf(key string) keyNames {
	tag := tagOf(key)
	c := counterOf(tag)
	return keyNames{lock: n.prefix + "{" + tag + "}", fences: n.fencesOf(c), at: n.place(c)}
}

func tagOf(key string) string {
	if strings.IndexByte(key, '%') >= 0 || strings.IndexByte(key, '}') >= 0 {
		return tagEscaper.Replace(key)
	}
	return key
}

var tagEscaper = strings.NewReplacer("%", "%25", "}", "%7D")

// of lists the keys of a script in the order of lua/queue.lua. The tombstone is
// what bars an owner that has released.
func (k keyNames) of(owner string) []string {
	return []string{k.lock, k.fences, k.lock + queueInfix, k.lock + tombstoneInfix + owner}
}

const (
	fences         = "fences"
	queueInfix     = ":queue"
	tombstoneInfix = ":released:"
)

// counter is where the fences of a key are counted: one of 65,536 counters, which the
// key shares with those of the same hash. What other keys raise it to makes fences
// larger than need be, and does no other harm. So the counters take half a megabyte,
// and none has to be forgotten.
//
// They stand in one string, which serves many keys with one command; on a cluster, in
// a string for each slot, since the lock has to be in the same one.
type counter uint16

const (
	counterBytes = 8
	clusterSlots = 1 << 14
)

// counterOf hashes a key, as it is written in a hash tag, as clusters do: CRC-16, XMODEM.
func counterOf(tag string) counter {
	crc := uint16(0)
	for i := range len(tag) {
		crc = crc<<8 ^ crc16[byte(crc>>8)^tag[i]]
	}
	return counter(crc)
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

// fencesOf names the string that a counter stands in.
func (n *Node) fencesOf(c counter) string {
	if !n.cluster {
		return n.prefix + fences
	}
	return n.prefix + "{" + strconv.Itoa(int(slotTags()[c%clusterSlots])) + "}:" + fences
}

// place is where in the string that is, in bytes.
func (n *Node) place(c counter) int {
	if !n.cluster {
		return int(c) * counterBytes
	}
	return int(c/clusterSlots) * counterBytes
}

// slotTags are numbers that as hash tags give the slots of a cluster.
var slotTags = sync.OnceValue(func() *[clusterSlots]uint32 {
	tags := new([clusterSlots]uint32)
	for found, n := 0, uint32(1); found < clusterSlots; n++ {
		if slot := counterOf(strconv.Itoa(int(n))) % clusterSlots; tags[slot] == 0 {
			tags[slot] = n
			found++
		}
	}
	return tags
})

// appendKey writes the name of the lock with something behind it as a string of
// the protocol. It is namesOf without a string made for it.
func (n *Node) appendKey(b []byte, key, infix, end string) []byte {
	key = tagOf(key)
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(n.prefix)+len(key)+len(infix)+len(end)+len("{}")), 10)
	b = append(append(append(b, "\r\n"...), n.prefix...), '{')
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
