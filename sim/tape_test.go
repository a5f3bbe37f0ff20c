package sim

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A run comes again from its tape alone: with no seed's choices to fall back on.
func TestRunsComeAgainFromTheirTapes(t *testing.T) {
	for seed := range uint64(25) {
		cfg := Draw(seed)
		cfg.KeepTape = true
		r := Run(cfg)
		cfg.Tape = r.Tape()
		require.NotEmpty(t, cfg.Tape)
		w := newWorldOf(cfg)
		clear(w.choose.streams)
		w.run()
		again := w.report()
		require.Equal(t, r.Hash, again.Hash, "seed %d", seed)
		require.Equal(t, r.Stats, again.Stats)
		require.Empty(t, w.choose.tape.data, "nothing is left on it")

		cfg.Tape, cfg.KeepTape = nil, false
		require.Equal(t, r.Hash, Run(cfg).Hash, "a tape that is kept changes nothing")
	}
}

// A stored run does not depend on what seeds mean.
func TestStoredRunsHaveTheirTapes(t *testing.T) {
	cfg := Draw(7)
	cfg.Record = true
	r := Run(cfg)
	data, err := json.Marshal(r.Replay())
	require.NoError(t, err)
	_, loaded, err := Load(data)
	require.NoError(t, err)
	w := newWorldOf(loaded)
	clear(w.choose.streams)
	w.run()
	require.Equal(t, r.Hash, w.report().Hash)

	p := r.Replay()
	p.Tape = p.Tape[:len(p.Tape)/2]
	data, err = json.Marshal(p)
	require.NoError(t, err)
	_, _, err = Load(data)
	require.ErrorContains(t, err, "tape is damaged")
}

// Another tape is another run: what is on it is what happens.
func TestATapeDecides(t *testing.T) {
	cfg := Config{Seed: 3, Jitter: time.Millisecond, LossPPM: 100_000, HealAt: 3 * time.Second, KeepTape: true}
	r := Run(cfg)
	require.NotZero(t, r.Stats.Lost)
	cfg.Tape = (&tape{}).packed() // it says zero to everything: nothing is lost
	still := Run(cfg)
	require.Zero(t, still.Stats.Lost)
	require.NotEqual(t, r.Hash, still.Hash)
}
