package protocol

import (
	"testing"
	"time"
)

// BenchmarkAttempt is the machine's own share of a lock and an unlock on five
// nodes: what a Locker cannot be faster than.
func BenchmarkAttempt(b *testing.B) {
	cfg := storyConfig(5)
	var out []Output
	b.ReportAllocs()
	for b.Loop() {
		a := New(&cfg)
		now := storyStart
		answer := func(op Op, first uint32) {
			for node := range cfg.Nodes {
				now = now.Add(10 * time.Microsecond)
				out = a.Step(now, Input{Kind: Voted, Node: node, Op: op, Request: first + uint32(node),
					Vote: Vote{Outcome: Granted, Fence: 1}}, out[:0])
			}
		}
		out = a.Step(now, Input{Kind: Start, TTL: storyTTL, Hint: 1}, out[:0])
		answer(Acquire, 1)
		out = a.Step(now, Input{Kind: Take}, out[:0])
		if !a.Held() {
			b.Fatal("not held")
		}
		out = a.Step(now, Input{Kind: Relinquish}, out[:0])
		answer(Release, 6)
	}
}
