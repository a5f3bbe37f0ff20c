package sim

import (
	"fmt"
	"time"
)

// Verdict is what a run says about a lock under its faults.
type Verdict uint8

// The verdicts, from the best to the worst.
const (
	Safe           Verdict = iota + 1 // nothing was lost, and the lock was to be had
	Unavailable                       // safe, but the lock was refused, or lost in time, for want of nodes
	UnsafeUnfenced                    // only a resource that checks tokens was safe
	Violated                          // a promise was broken
)

var verdicts = [...]string{
	Safe: "safe", Unavailable: "unavailable but safe", UnsafeUnfenced: "unsafe without fencing", Violated: "violated",
}

func (v Verdict) String() string { return verdicts[v] }

// ParseVerdict reads what String writes.
func ParseVerdict(text string) (Verdict, error) {
	for v, t := range verdicts {
		if t == text && t != "" {
			return Verdict(v), nil
		}
	}
	return 0, fmt.Errorf("sim: there is no verdict %q", text)
}

// Stats counts what happened in a run.
type Stats struct {
	Events      int           `json:"events"`
	Time        time.Duration `json:"time_ns"` // of the world
	Acquired    int           `json:"acquired"`
	Failed      int           `json:"failed"`
	NoQuorum    int           `json:"no_quorum"`
	GaveUp      int           `json:"gave_up"`
	Cancelled   int           `json:"cancelled"`
	Losses      int           `json:"losses"`
	Calls       int           `json:"calls"`  // of nodes to waiters
	Passed      int           `json:"passed"` // leases, to the next user of a client
	Renewals    int           `json:"renewals"`
	Faults      int           `json:"faults"`
	Lost        int           `json:"messages_lost"`
	Barred      int           `json:"votes_barred"`
	Writes      int           `json:"writes"`
	Accepted    int           `json:"writes_accepted"`
	Rejected    int           `json:"writes_rejected"`
	LostUpdates int           `json:"unfenced_lost_updates"`
	Waited      time.Duration `json:"waited_ns"` // by all that acquired, together
	LongestWait time.Duration `json:"longest_wait_ns"`
}

// Report is what came of a run.
type Report struct {
	Config     *Config
	Verdict    Verdict
	Violations []Violation
	Overlaps   int           // times that two leases were valid at once
	Overlapped time.Duration // the longest of them
	Beyond     string        // the assumption that the faults left, if any
	Stats      Stats
	Hash       uint64 // equal for equal Configs, on every machine
	world      *world
	worlds     []*world // of a history, one for each key
}

// Run runs a world to its end. It panics on a Config that makes no sense; Check
// tells beforehand.
func Run(cfg Config) Report {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	w := newWorld(&cfg)
	w.run()
	return w.report()
}

// Check fills in the defaults and refuses what makes no sense.
func (c *Config) Check() error {
	c.fill()
	return c.check()
}

func (w *world) report() Report {
	w.fold(uint64(w.stats.Events), w.choose.draws)
	r := Report{
		Config: w.cfg, Violations: w.judge.violations, Beyond: w.judge.beyond, Stats: w.stats, Hash: w.hash,
		Overlaps: w.judge.overlaps, Overlapped: w.judge.overlapped, world: w,
	}
	r.Verdict = r.judge()
	return r
}

func (r *Report) judge() Verdict {
	verdict := Safe
	if r.Stats.GaveUp+r.Stats.Losses > 0 || r.Stats.Failed > 0 && r.Stats.NoQuorum > 0 {
		verdict = Unavailable
	}
	if r.Stats.LostUpdates > 0 || r.Overlaps > 0 {
		verdict = UnsafeUnfenced
	}
	for _, v := range r.Violations {
		if v.Beyond == "" {
			return Violated
		}
	}
	return verdict
}

// Broken is the first breach within the assumptions, or else beyond them.
func (r *Report) Broken() *Violation {
	for i := range r.Violations {
		if r.Violations[i].Beyond == "" {
			return &r.Violations[i]
		}
	}
	if len(r.Violations) > 0 {
		return &r.Violations[0]
	}
	return nil
}

// Story is what led to the first breach, in order of time, or with no breach to the
// first update that was lost without tokens; with neither, the events of the run.
// It needs Config.Record.
func (r *Report) Story() []Note {
	if r.world.rec == nil {
		return nil
	}
	if story := r.slice(); story != nil {
		return story
	}
	return r.world.rec.notes
}

// Told says that the story is of something that went wrong.
func (r *Report) Told() bool { return r.world.rec != nil && r.slice() != nil }

// slice is the causal slice of what went wrong.
func (r *Report) slice() []Note {
	if v := r.Broken(); v != nil {
		return r.world.rec.slice(v.note)
	}
	return r.world.rec.slice(r.world.rec.focus)
}
