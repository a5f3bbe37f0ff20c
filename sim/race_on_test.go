//go:build race

package sim

// raced says that the race detector slows everything down. A world has nothing
// to race: only the swarm has goroutines.
const raced = true
