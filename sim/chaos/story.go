package chaos

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/quorumlock/redlock/sim"
)

//go:embed scenarios/*.txt
var files embed.FS

// Stories are those of the simulator that real servers can have part in, and some
// about what only real servers have, such as connections.
func Stories() []sim.Scenario {
	var out []sim.Scenario
	for _, s := range append(sim.Scenarios(), own()...) {
		if len(s.Real) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// own are the stories of this package. They are told in the simulator as well.
func own() []sim.Scenario {
	names, err := fs.Glob(files, "scenarios/*.txt")
	if err != nil {
		panic(err)
	}
	var out []sim.Scenario
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			panic(err)
		}
		s, err := sim.ParseScenario(strings.TrimSuffix(path.Base(name), ".txt"), string(text))
		if err != nil {
			panic(err) // a test reads them all
		}
		out = append(out, s)
	}
	return out
}

// blinders are the defences that a real client can be without: what guards go by
// can be kept from it, and a careless lock can stand in for the Locker.
const blinders = sim.RestartGuard | sim.ClockGuard | sim.CountFromSending | sim.ReleaseByOwner

// Telling is one story told on one quorum, or one of its twins.
type Telling struct {
	Story   sim.Scenario
	Quorum  string
	Without sim.Defence
	Expect  sim.Verdict
	Breaks  sim.Invariant // 0 for any
	Scale   int           // how many times shorter
	HealAt  time.Duration // before it is made shorter; 0 for the story's own
}

// Name names it, for people.
func (t *Telling) Name() string {
	name := t.Story.Name + " on " + t.Quorum
	if t.Without != 0 {
		name += " without " + t.Without.String()
	}
	return name
}

// NeedsClocks says that servers' clocks are set in it.
func (t *Telling) NeedsClocks() bool { return needsClocks(&t.Story.Config) }

// Tellings are all that there are of some stories. Twins are told on the first
// quorum of each.
func Tellings(stories []sim.Scenario) []Telling {
	var out []Telling
	for _, s := range stories {
		for i, q := range s.Real {
			out = append(out, Telling{Story: s, Quorum: q.Quorum, Expect: q.Expect, Scale: q.Scale, HealAt: q.HealAt})
			if i > 0 {
				continue
			}
			for _, t := range s.Twins {
				if blinders.Has(t.Without) {
					out = append(out, Telling{Story: s, Quorum: q.Quorum, Without: t.Without, Expect: t.Expect, Breaks: t.Breaks, Scale: q.Scale, HealAt: q.HealAt})
				}
			}
		}
	}
	return out
}

// leastTimeout is how long a node of a real machine is given, however short a story
// is made: a busy one may not run a process for so long.
const leastTimeout = 400 * time.Millisecond

// plan is what a telling comes to.
func (t *Telling) plan(seed uint64) (Plan, error) {
	cfg := t.Story.Config
	if t.HealAt > 0 {
		cfg.HealAt = t.HealAt
	}
	cfg = cfg.Shorter(t.Scale)
	if seed != 0 {
		cfg.Seed = seed
	}
	cfg.NodeTimeout = max(cfg.NodeTimeout, min(leastTimeout, cfg.TTL/4))
	cfg.OutageWait = max(cfg.OutageWait, cfg.NodeTimeout)
	kinds, err := kindsOf(t.Quorum, cfg.Nodes)
	if err != nil {
		return Plan{}, err
	}
	if t.Quorum != "mixed" || len(cfg.Kinds) <= 1 {
		cfg.Kinds = kinds
	}
	cfg.Record = true
	return Plan{Name: t.Story.Name, Quorum: t.Quorum, Config: cfg, Without: t.Without}, nil
}

// Told is a telling and what came of it.
type Told struct {
	Telling *Telling
	*Result
	Wrong string // what was not as told
	Tries int
}

// tries is how often a story is told whose fault did not bite: on a busy machine a
// process may not run at the moment that the story is about. What broke is never
// tried again.
const tries = 3

// Tell tells a story.
func (c *Cluster) Tell(ctx context.Context, self Self, t *Telling, seed uint64) (*Told, error) {
	plan, err := t.plan(seed)
	if err != nil {
		return nil, err
	}
	told := &Told{Telling: t}
	for told.Tries < tries {
		rec, err := c.Run(ctx, self, plan)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name(), err)
		}
		told.Tries++
		told.Result = rec.Judge()
		told.Wrong = t.compare(&told.Report)
		if told.Wrong == "" || told.Report.Verdict >= t.Expect {
			break
		}
	}
	return told, nil
}

// compare says what is not as told. On a real machine a lease may also be lost, or
// refused in time, because the machine is busy: where the story is to be safe,
// unavailable but safe is as good.
func (t *Telling) compare(r *sim.Report) string {
	got := r.Verdict
	if got == sim.Unavailable && t.Expect == sim.Safe {
		got = sim.Safe
	}
	if t.Expect == sim.UnsafeUnfenced && t.Without != 0 && got == sim.Violated || t.Expect == sim.Violated && got == sim.UnsafeUnfenced && t.Without != 0 {
		got = t.Expect // whether it is within the assumptions cannot be seen from outside; two holders can
	}
	if got != t.Expect {
		return fmt.Sprintf("%v, expected %v", r.Verdict, t.Expect)
	}
	if t.Breaks == 0 {
		return ""
	}
	for _, v := range r.Violations {
		if v.Invariant == t.Breaks {
			return ""
		}
	}
	return fmt.Sprintf("%v holds, expected it to break", t.Breaks)
}

// WriteHTML writes a page about what was told of one story, with a picture of each
// run.
func WriteHTML(out io.Writer, tellings []*Told) error {
	if len(tellings) == 0 {
		return errors.New("chaos: nothing was told")
	}
	story := &tellings[0].Telling.Story
	title, text := story.Title, story.Story
	var panels []sim.Panel
	for _, t := range tellings {
		if t.Telling.Story.Name != story.Name {
			title, text = "Stories on real servers", ""
		}
	}
	for _, t := range tellings {
		heading := t.Telling.Name()
		panels = append(panels, sim.Panel{Heading: heading, Report: &t.Report, Lines: t.Lines(),
			Command: fmt.Sprintf("redlock chaos run %s --quorum %s --seed %d", t.Telling.Story.Name, t.Telling.Quorum, t.Record.Seed)})
	}
	return sim.WritePage(out, title, text, panels)
}

// WriteHTML writes a page about a judged run: of a soak, with what the clients took
// of the machine, and a picture of the moment that matters.
func (res *Result) WriteHTML(out io.Writer) error {
	report, heading := &res.Report, res.Record.Name+" on "+res.Record.Quorum
	panel := sim.Panel{Heading: heading, Report: report, Lines: res.Lines()}
	if res.Record.Soak {
		window := res.window()
		panel.Report = &window
		panel.Heading += ": one key, in its last seconds"
		if res.Report.Broken() != nil {
			panel.Heading = heading + ": one key, about what broke"
		}
		panel.Figure = res.plot()
	}
	return sim.WritePage(out, heading, res.Headline(), []sim.Panel{panel})
}
