package sim

import (
	"errors"
	"fmt"
	"time"
)

// AdviseConfig describes a user's fleet and how it uses a lock.
type AdviseConfig struct {
	Nodes, Clients                    int
	TTL, Hold, Think, Latency, Jitter time.Duration
	LossPPM                           int64
	Pause, PauseEvery                 time.Duration // of each client's process
	Outage, OutageEvery               time.Duration // of each node
	For                               time.Duration // default 24 hours of the world's time
	Seed                              uint64
}

// Advice is what a fleet may expect.
type Advice struct {
	Report Report
	Lines  []string
}

// Advise simulates a fleet for a day, and says how often locks would be lost or
// refused, and what would help.
func Advise(a AdviseConfig) (Advice, error) {
	if err := a.check(); err != nil {
		return Advice{}, err
	}
	setDefault(&a.Clients, 3)
	setDefault(&a.Seed, 1)
	setDefault(&a.Hold, time.Second)
	setDefault(&a.Think, a.Hold*time.Duration(a.Clients))
	setDefault(&a.For, 24*time.Hour)
	cfg := Config{
		Name: "advise", Seed: a.Seed, Nodes: a.Nodes, Clients: a.Clients, TTL: a.TTL, Latency: max(time.Microsecond, a.Latency), Jitter: a.Jitter,
		LossPPM: a.LossPPM, RatesPPM: 100, Limit: a.For, MaxEvents: 5 * million,
		Work: Work{Hold: a.Hold, Think: a.Think, WriteEvery: max(time.Millisecond, a.Hold/4)},
	}
	cfg.fill()
	d := draw{newChooser(a.Seed, 1, nil)}
	for i := range cfg.Clients {
		cfg.Faults = append(cfg.Faults, d.often(a.For, a.PauseEvery, Fault{Verb: Pause, Client: i, Node: none, For: a.Pause})...)
	}
	for i := range cfg.Nodes {
		cfg.Faults = append(cfg.Faults, d.often(a.For, a.OutageEvery, Fault{Verb: Pause, Client: none, Node: i, For: a.Outage})...)
	}
	if err := cfg.Check(); err != nil {
		return Advice{}, err
	}
	if margin := cfg.protocolConfig(); margin.Margin(cfg.TTL)+cfg.NodeTimeout+cfg.MinValidity > cfg.TTL {
		return Advice{}, fmt.Errorf("sim: a TTL of %v is too short: raise it", cfg.TTL)
	}
	out := Advice{Report: Run(cfg)}
	out.Lines = out.Report.advise(&cfg)
	return out, nil
}

// check refuses what no fleet has.
func (a *AdviseConfig) check() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", a.TTL}, {"hold", a.Hold}, {"think", a.Think}, {"latency", a.Latency}, {"jitter", a.Jitter},
		{"pause", a.Pause}, {"time between pauses", a.PauseEvery},
		{"outage", a.Outage}, {"time between outages", a.OutageEvery}, {"time", a.For},
	} {
		if d.value < 0 {
			return fmt.Errorf("sim: the %s is %v: it must not be negative", d.name, d.value)
		}
	}
	switch {
	case a.Nodes < 0 || a.Clients < 0:
		return fmt.Errorf("sim: %d nodes and %d clients: they must not be negative", a.Nodes, a.Clients)
	case a.LossPPM < 0 || a.LossPPM > million:
		return fmt.Errorf("sim: a loss of %d ppm: use 0 to %d", a.LossPPM, million)
	case (a.Pause > 0) != (a.PauseEvery > 0):
		return errors.New("sim: a pause and how often it comes belong together: give both or neither")
	case (a.Outage > 0) != (a.OutageEvery > 0):
		return errors.New("sim: an outage and how often it comes belong together: give both or neither")
	}
	return nil
}

// often repeats a fault at random, that often on average.
func (d *draw) often(limit, every time.Duration, f Fault) []Fault {
	var out []Fault
	if every <= 0 || f.For <= 0 {
		return nil
	}
	for at := time.Duration(0); len(out) < 100_000; {
		at += 1 + time.Duration(d.exponential(0, int64(every)))
		if at >= limit {
			break
		}
		f.At = at
		out = append(out, f)
		at += f.For
	}
	return out
}

func (r *Report) advise(cfg *Config) []string {
	s := &r.Stats
	lines := []string{
		fmt.Sprintf("%v of the world: %s, %.1f per minute", s.Time.Round(time.Second), count(s.Acquired, "lease"), float64(s.Acquired)/max(1e-9, s.Time.Minutes())),
		fmt.Sprintf("waited for %v on average, %v at the longest", (s.Waited / time.Duration(max(1, s.Acquired))).Round(time.Microsecond), s.LongestWait.Round(time.Millisecond)),
		fmt.Sprintf("lost while held: %s", oneIn(s.Losses, s.Acquired)),
		fmt.Sprintf("refused for want of a quorum: %s", oneIn(s.GaveUp, s.Acquired+s.GaveUp)),
		fmt.Sprintf("updates that only the token saved: %s", oneIn(s.LostUpdates, s.Writes)),
	}
	trip := 2 * (cfg.Latency + cfg.Jitter)
	switch {
	case cfg.NodeTimeout < 5*trip:
		lines = append(lines, fmt.Sprintf("advice: a round trip takes %v on average, and a node has %v to answer: raise the TTL, or NodeTimeout", trip, cfg.NodeTimeout))
	case s.Losses > 0:
		lines = append(lines, "advice: raise the TTL above the longest pause or outage, or make the work stop when its context ends")
	}
	if s.LostUpdates > 0 {
		lines = append(lines, "advice: send the token with each write: without it these updates are lost")
	}
	if cfg.Nodes%2 == 0 {
		lines = append(lines, fmt.Sprintf("advice: %d nodes stand no more failures than %d", cfg.Nodes, cfg.Nodes-1))
	}
	return lines
}

func oneIn(n, of int) string {
	if n == 0 {
		return fmt.Sprintf("none of %d", of)
	}
	return fmt.Sprintf("%d of %d (one in %d)", n, of, max(1, of/n))
}
