package sim

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
)

// tape has the choices of a run in the order in which they were made: what came
// of each, not the random bits behind it. A run from its tape is the same run,
// also under another version whose seeds give other choices.
type tape struct {
	playing bool
	data    []byte // a varint for each choice
}

// next gives the next choice: as it is on the tape, or as drawn, and then it is
// kept. Past its end a tape says zero: no loss, no delay, first come first served.
func (t *tape) next(draw func() uint64) uint64 {
	if !t.playing {
		choice := draw()
		t.data = binary.AppendUvarint(t.data, choice)
		return choice
	}
	choice, n := binary.Uvarint(t.data)
	t.data = t.data[max(0, n):]
	return choice
}

// packed is the tape for storing.
func (t *tape) packed() []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(t.data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return b.Bytes()
}

// longestTape bounds what a damaged tape can unpack to.
const longestTape = 1 << 30

func unpackTape(packed []byte) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), longestTape))
	if err != nil {
		return nil, fmt.Errorf("sim: the tape is damaged: %w", err)
	}
	return data, nil
}

// tapeOf is the tape that a world plays or keeps, if any.
func tapeOf(cfg *Config) *tape {
	if cfg.Tape != nil {
		data, err := unpackTape(cfg.Tape)
		if err != nil {
			panic(err) // Check has read it
		}
		return &tape{playing: true, data: data}
	}
	if cfg.Record || cfg.KeepTape {
		return &tape{}
	}
	return nil
}

// Tape has all choices of a run whose Config has Record or KeepTape, for
// Config.Tape; nil of others.
func (r *Report) Tape() []byte {
	switch {
	case r.Config.Tape != nil:
		return r.Config.Tape
	case r.world == nil || r.world.choose.tape == nil:
		return nil
	}
	return r.world.choose.tape.packed()
}
