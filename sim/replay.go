package sim

import (
	"encoding/json"
	"fmt"
)

// Replay is a run that can be repeated, as a file.
type Replay struct {
	Schema  int      `json:"schema"` // 1
	Name    string   `json:"name,omitempty"`
	Seed    uint64   `json:"seed"`
	Config  *Config  `json:"config"`            // with the defaults filled in; Faults and Without are below
	Faults  []string `json:"faults"`            // as ParseFault reads them
	Without string   `json:"without,omitempty"` // as ParseDefence reads it
	Verdict string   `json:"verdict"`
	Hash    string   `json:"hash"`
	Tape    []byte   `json:"tape,omitempty"` // every choice; with it the seed is of no account
	Broken  []string `json:"broken,omitempty"`
	Stats   Stats    `json:"stats"`
	Story   []Note   `json:"story,omitempty"`
}

// Replay is the report as something that can be stored and run again.
func (r *Report) Replay() Replay {
	cfg := *r.Config
	p := Replay{Schema: 1, Name: cfg.Name, Seed: cfg.Seed, Without: cfg.Without.String(), Verdict: r.Verdict.String(),
		Hash: fmt.Sprintf("%016x", r.Hash), Stats: r.Stats, Faults: []string{}}
	for _, f := range cfg.Faults {
		p.Faults = append(p.Faults, f.String())
	}
	for _, v := range r.Violations {
		text := v.Invariant.String() + ": " + v.Text
		if v.Beyond != "" {
			text += " (beyond the assumptions: " + v.Beyond + ")"
		}
		p.Broken = append(p.Broken, text)
	}
	if r.world != nil {
		p.Story, p.Tape = r.Story(), r.Tape()
	}
	cfg.Faults, cfg.Without = nil, 0
	p.Config = &cfg
	return p
}

// Load reads a replay and gives the Config to run.
func Load(data []byte) (Replay, Config, error) {
	var p Replay
	if err := json.Unmarshal(data, &p); err != nil {
		return p, Config{}, fmt.Errorf("sim: this is no replay: %w", err)
	}
	if p.Schema != 1 || p.Config == nil {
		return p, Config{}, fmt.Errorf("sim: this is no replay of schema 1")
	}
	cfg := *p.Config
	cfg.Tape = p.Tape
	var err error
	if cfg.Without, err = ParseDefence(p.Without); err != nil {
		return p, cfg, err
	}
	for _, line := range p.Faults {
		f, err := ParseFault(line)
		if err != nil {
			return p, cfg, err
		}
		cfg.Faults = append(cfg.Faults, f)
	}
	return p, cfg, cfg.Check()
}
