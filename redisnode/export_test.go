package redisnode

// CounterOf tells where a node counts a key's fences: the name of the string, and the
// place in it, in bytes.
func (n *Node) CounterOf(key string) (name string, at int) {
	names := n.namesOf(key)
	return names.fences, names.at
}
