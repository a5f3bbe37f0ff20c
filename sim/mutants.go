package sim

import (
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
)

// Mutant is what came of running without a defence: which mode noticed, what
// broke, and after how much.
type Mutant struct {
	Defence Defence
	Text    string // what the defence is
	Mode    string // swarm, scenario or explore; empty if nobody noticed
	Where   string // the seed, or the scenario's name
	Breaks  string // the invariant
	Events  int    // until then, or states explored
	Seeds   int
	Took    time.Duration
}

// Mutants runs without each defence in turn, until a mode notices. told, if it is
// not nil, is called after each.
func Mutants(clock redlock.Clock, workers int, told func(Mutant)) []Mutant {
	var out []Mutant
	for _, def := range defences {
		m := hunt(clock, workers, def.bit)
		m.Text = def.text
		out = append(out, m)
		if told != nil {
			told(m)
		}
	}
	return out
}

// swarmPatience is how many seeds the swarm may try before the other modes do.
const swarmPatience = 300

func hunt(clock redlock.Clock, workers int, d Defence) Mutant {
	m := Mutant{Defence: d}
	start := clock.Now()
	defer func() { m.Took = clock.Now() - start }()
	if m.inSwarm(clock, workers) || m.inScenarios() || m.inExplorer() {
		m.Took = clock.Now() - start
	}
	return m
}

func (m *Mutant) inSwarm(clock redlock.Clock, workers int) bool {
	if m.Defence == ClockGuard {
		return false // it holds against what is outside the assumptions
	}
	s := Swarm(SwarmConfig{First: 1, Seeds: swarmPatience, Workers: workers, Without: m.Defence, Clock: clock})
	m.Seeds, m.Events = s.Seeds, s.Stats.Events
	if !s.Failed {
		return false
	}
	m.Mode, m.Where, m.Breaks = "swarm", fmt.Sprintf("seed %d", s.Seed), s.Report.Broken().Invariant.String()
	return true
}

// inScenarios looks among the twins, which run without just this.
func (m *Mutant) inScenarios() bool {
	for _, s := range Scenarios() {
		for _, t := range s.Twins {
			if t.Without != m.Defence {
				continue
			}
			cfg := s.Config
			cfg.Without |= t.Without
			r := Run(cfg)
			if r.Verdict == s.Expect || r.Broken() == nil {
				continue
			}
			m.Mode, m.Where, m.Breaks, m.Events = "scenario", s.Name, r.Broken().Invariant.String(), r.Stats.Events
			return true
		}
	}
	return false
}

// inExplorer looks where the swarm would have to be lucky.
func (m *Mutant) inExplorer() bool {
	for _, cfg := range []ExploreConfig{
		{Clients: 2, Nodes: 3},
		{Clients: 3, Nodes: 3},
		{Clients: 2, Nodes: 3, Duplicates: 1},
		{Clients: 2, Nodes: 3, Amnesias: 1},
	} {
		cfg.Without = m.Defence
		r, err := Explore(cfg)
		if err == nil && r.Broken != "" {
			m.Mode, m.Where, m.Breaks, m.Events = "explore", cfg.String(), Tokens.String(), r.States
			return true
		}
	}
	return false
}
