package redisnode

import (
	"strconv"
	"strings"
)

// keyNames are the names that a lock's key has on the server.
type keyNames struct {
	lock  string // holds the owner, its fence, and the queue; see lua/common.lua
	fence string // holds the counter
}

// newKeyNames puts the key into the hash tag of all names, so that a cluster
// keeps them in one slot. The tag ends at the first '}', so a '}' in the key is
// written "%7D", and for the sake of that a '%' is written "%25": different keys
// have different names. All other bytes stand for themselves.
func newKeyNames(prefix, key string) keyNames {
	lock := prefix + "{" + tagEscaper.Replace(key) + "}"
	return keyNames{lock: lock, fence: lock + fenceSuffix}
}

var tagEscaper = strings.NewReplacer("%", "%25", "}", "%7D")

// of lists the keys of a script in the order of lua/common.lua. The tombstone is
// what bars an owner that has released.
func (k keyNames) of(owner string) []string {
	return []string{k.lock, k.fence, k.tombstone(owner)}
}

func (k keyNames) tombstone(owner string) string { return k.lock + tombstoneInfix + owner }

const (
	fenceSuffix    = ":fence"
	tombstoneInfix = ":released:"
)

// appendKey writes the name of the lock with something behind it as a string of
// the protocol. It is newKeyNames without a string made for it.
func (n *Node) appendKey(b []byte, key, infix, end string) []byte {
	if strings.IndexByte(key, '%') >= 0 || strings.IndexByte(key, '}') >= 0 {
		key = tagEscaper.Replace(key)
	}
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
