package redisnode

import "strconv"

// CounterOf tells where a key's fences are counted with the default prefix: the name
// of the sorted set and the member.
func CounterOf(key string) (name, member string) {
	names := newKeyNames(defaultPrefix, key)
	return names.fences, strconv.Itoa(int(names.counter.member))
}
