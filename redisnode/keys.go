package redisnode

import "strings"

// keyNames are the names that a lock's key has on the server.
type keyNames struct {
	lock    string // holds "owner:fence"
	fence   string // holds the counter
	channel string // tells of releases
}

// newKeyNames puts the key into the hash tag of all names, so that a cluster
// keeps them in one slot. The tag ends at the first '}', so a '}' in the key is
// written "%7D", and for the sake of that a '%' is written "%25": different keys
// have different names. All other bytes stand for themselves.
func newKeyNames(prefix, key string) keyNames {
	lock := prefix + "{" + tagEscaper.Replace(key) + "}"
	return keyNames{lock: lock, fence: lock + ":fence", channel: lock + ":free"}
}

var tagEscaper = strings.NewReplacer("%", "%25", "}", "%7D")

// of lists the keys of a script in the order of lua/common.lua. The tombstone is
// what bars an owner that has released.
func (k keyNames) of(owner string) []string {
	return []string{k.lock, k.fence, k.tombstone(owner)}
}

func (k keyNames) tombstone(owner string) string { return k.lock + ":released:" + owner }
