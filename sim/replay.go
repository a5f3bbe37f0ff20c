package sim

import (
	"encoding/json"
	"fmt"
	"strings"
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
	Caption string   `json:"caption,omitempty"`
	Story   []Note   `json:"story,omitempty"`

	// In order of their beginnings, of recorded runs.
	Holds  []Stretch `json:"holds,omitempty"`  // leases, for as long as their holders relied on them
	Grants []Stretch `json:"grants,omitempty"` // of nodes
	Writes []Written `json:"writes,omitempty"` // as they arrived at the resource
}

// Stretch is a time for which a client had something. Fences and tokens that come
// of the clients' clocks are in microseconds since the world began.
type Stretch struct {
	Client string `json:"client"`
	Node   string `json:"node,omitempty"`
	Number string `json:"number"` // fence or token
	From   Time   `json:"from_ns"`
	To     Time   `json:"to_ns"`
}

// Written is a write's arrival.
type Written struct {
	At       Time   `json:"at_ns"`
	Token    string `json:"token"`
	Accepted bool   `json:"accepted"`
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
		p.Story, p.Tape, p.Caption = r.Story(), r.Tape(), r.Caption()
		p.list(r.world.rec)
	}
	cfg.Faults, cfg.Without = nil, 0
	p.Config = &cfg
	return p
}

// list copies what the picture shows.
func (p *Replay) list(rec *recording) {
	if rec == nil {
		return
	}
	for _, b := range rec.bars {
		s := Stretch{Client: name("c", b.client), Number: strings.TrimPrefix(b.label, "#"), From: b.from, To: b.to}
		switch b.kind {
		case "lease":
			p.Holds = append(p.Holds, s)
		case "grant":
			s.Node = b.row
			p.Grants = append(p.Grants, s)
		}
	}
	for _, m := range rec.marks {
		if m.row == "store" {
			p.Writes = append(p.Writes, Written{At: m.at, Token: m.label, Accepted: m.kind == "accepted"})
		}
	}
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
