package sim

import (
	"slices"
	"time"
)

// Shrunk is a failing run made smaller.
type Shrunk struct {
	Report Report // of the smallest that still breaks the same invariant, recorded
	Before int    // faults, losses and duplicates that it had
	After  int
	Events int // of the first run
	Runs   int
}

// Shrink looks for fewer faults, fewer lost and repeated messages, fewer clients
// and less time with which the same invariant still breaks. It reports false if
// the run breaks none.
func Shrink(cfg Config) (Shrunk, bool) {
	cfg.StopEarly, cfg.Record = true, false
	s := shrinker{}
	w := newWorldOf(cfg)
	w.keepChoices = true
	w.run()
	first := w.report()
	broken := first.Broken()
	if broken == nil {
		return Shrunk{}, false
	}
	s.invariant, s.beyond = broken.Invariant, broken.Beyond != ""
	s.best = cfg
	if cfg.Tape != nil {
		seeded := cfg
		seeded.Tape = nil
		s.try(seeded) // what is left of a run changes less by its seed than by its tape
	}
	s.before = len(cfg.Faults) + len(w.kept)
	s.explicit(w.kept)
	for range 3 {
		before := s.size()
		s.withoutSome()
		s.elsewhere(8 * first.Stats.Events) // more happens when less is lost
		s.simpler()
		if s.size() == before {
			break
		}
	}
	s.best.Record = true
	r := Run(s.best)
	return Shrunk{Report: r, Before: s.before, After: len(s.best.Faults), Events: first.Stats.Events, Runs: s.runs}, true
}

func newWorldOf(cfg Config) *world {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	return newWorld(&cfg)
}

type shrinker struct {
	invariant Invariant
	beyond    bool
	best      Config
	before    int
	runs      int
}

func (s *shrinker) size() int { return len(s.best.Faults)*1000 + s.best.Clients }

// shrinkRuns bounds the work.
const shrinkRuns = 3000

// try keeps a Config if it breaks the same invariant.
func (s *shrinker) try(cfg Config) bool {
	if s.runs >= shrinkRuns || cfg.Check() != nil {
		return false
	}
	s.runs++
	r := Run(cfg)
	v := r.Broken()
	if v == nil || v.Invariant != s.invariant || (v.Beyond != "") != s.beyond {
		return false
	}
	s.best = cfg
	// Nothing after the breach matters. It may be seen as time goes on to an event
	// that does not count, after the last one that does.
	s.best.MaxEvents = min(s.best.MaxEvents, r.Stats.Events+1)
	return true
}

// explicit makes faults of the losses and duplicates that were drawn, so that
// each can be left out.
func (s *shrinker) explicit(kept []Fault) {
	cfg := s.best
	cfg.LossPPM, cfg.DuplicatesPPM = 0, 0
	if s.try(cfg) { // none of them mattered
		return
	}
	cfg.Faults = append(slices.Clone(cfg.Faults), kept...)
	s.try(cfg)
}

// elsewhere looks for a seed with which no message has to be lost or repeated: often
// they only bring about a moment that another seed comes to by itself.
func (s *shrinker) elsewhere(events int) {
	cfg := s.best
	cfg.Faults = slices.DeleteFunc(slices.Clone(cfg.Faults), func(f Fault) bool { return f.Verb == Lose || f.Verb == Repeat })
	cfg.Tape, cfg.MaxEvents = nil, events
	if len(cfg.Faults) == len(s.best.Faults) {
		return
	}
	for range 100 {
		if s.try(cfg) {
			return
		}
		cfg.Seed = mix(cfg.Seed, 7)
	}
}

// withoutSome leaves out faults: halves, quarters, and at last each (ddmin).
func (s *shrinker) withoutSome() {
	for chunk := max(1, len(s.best.Faults)/2); ; chunk /= 2 {
		for from := 0; from < len(s.best.Faults); {
			cfg := s.best
			cfg.Faults = slices.Delete(slices.Clone(cfg.Faults), from, min(from+chunk, len(cfg.Faults)))
			if !s.try(cfg) {
				from += chunk
			}
		}
		if chunk <= 1 {
			return
		}
	}
}

// simpler tries plainer worlds, one change at a time.
func (s *shrinker) simpler() {
	for _, change := range []func(*Config){
		func(c *Config) { c.Clients-- },
		func(c *Config) { c.Clients-- },
		func(c *Config) { c.Clients-- },
		func(c *Config) { c.Work.Users, c.Handoffs = 0, 0 },
		func(c *Config) { c.NoQueues = true },
		func(c *Config) { c.Strict = false },
		func(c *Config) { c.DeafPPM = 0 },
		func(c *Config) { c.Jitter = 0 },
		func(c *Config) { c.RatesPPM = 0 },
		func(c *Config) { c.WallSpread = 0 },
		func(c *Config) { c.Kinds = nil },
		func(c *Config) { c.MaxHold = 0 },
		func(c *Config) { c.Work.ExtendBy = 0 },
		func(c *Config) { c.Work.Patience = 0 },
		func(c *Config) { c.Work.WriteEvery = 0 },
		func(c *Config) { c.Work.Exact = true },
		func(c *Config) { c.Nodes, c.Quorum = 3, 0 },
		func(c *Config) { c.TakesLong = time.Nanosecond },
		func(c *Config) { c.Work.Times = 1 },
	} {
		cfg := s.best
		change(&cfg)
		if cfg.Clients >= 1 {
			s.try(cfg)
		}
	}
	for range 8 { // other seeds break sooner
		cfg := s.best
		cfg.Seed = mix(cfg.Seed, 7)
		if events := s.best.MaxEvents; s.try(cfg) && s.best.MaxEvents > events {
			break
		}
	}
}
