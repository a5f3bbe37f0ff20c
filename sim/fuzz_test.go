package sim

import "testing"

// A fuzzer may choose in the place of the seed: where messages are lost, how long
// each takes, in which order a paused client finds what came.
func FuzzWorld(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(22), []byte{0, 255, 0, 255, 128, 7})
	f.Fuzz(func(t *testing.T, seed uint64, choices []byte) {
		cfg := Draw(seed)
		cfg.Bytes, cfg.MaxEvents = choices, 20_000
		if r := Run(cfg); r.Verdict == Violated {
			t.Fatalf("seed %d: %v", seed, r.Violations)
		}
	})
}
