package sim

import (
	"fmt"
	"slices"

	"github.com/quorumlock/redlock/internal/protocol"
)

// ExploreConfig bounds an exhaustive exploration.
type ExploreConfig struct {
	Clients    int // attempts, at most 3
	Nodes      int // at most 3
	Duplicates int // of acquires, of each attempt: they arrive once more, at any time
	Amnesias   int // times that a node loses all it knows
	Ahead      int // by how much attempts' hints may differ: each is one of two
	Without    Defence
	MaxStates  int // default 200 million
	// Progress is told the number of states now and then.
	Progress func(states int)
}

// String names the bounds.
func (c ExploreConfig) String() string {
	text := count(c.Clients, "attempt") + " on " + count(c.Nodes, "node")
	if c.Duplicates > 0 {
		text += ", " + count(c.Duplicates, "duplicate") + " of each"
	}
	if c.Amnesias > 0 {
		text += ", data lost " + []string{"", "once", "twice"}[c.Amnesias]
	}
	if c.Ahead > 0 {
		text += fmt.Sprintf(", hints %d apart", c.Ahead)
	}
	return text
}

// StandardExplorations are those that show what tokens rest on: with every defence
// nothing breaks, and without the others something does.
func StandardExplorations() (safe, broken []ExploreConfig) {
	safe = []ExploreConfig{
		{Clients: 3, Nodes: 3},
		{Clients: 2, Nodes: 3, Duplicates: 2},
		{Clients: 3, Nodes: 3, Ahead: 3},
		{Clients: 3, Nodes: 3, Amnesias: 1},
		{Clients: 2, Nodes: 3, Duplicates: 1, Amnesias: 1},
	}
	broken = []ExploreConfig{
		{Clients: 2, Nodes: 3, Duplicates: 1, Without: ConfirmByFence},
		{Clients: 2, Nodes: 3, Without: ConfirmByOwner},
		{Clients: 2, Nodes: 3, Without: NoHigherGrants},
		{Clients: 2, Nodes: 3, Without: GrowingFences},
		{Clients: 2, Nodes: 3, Without: MajorityQuorum},
		{Clients: 2, Nodes: 3, Amnesias: 1, Without: RestartGuard},
		{Clients: 2, Nodes: 3, Amnesias: 1, Without: HintFromClock},
	}
	return safe, broken
}

// ExploreReport is what came of it.
type ExploreReport struct {
	States    int  // different ones, up to the order of the nodes and of the attempts
	Steps     int  // from one state to another
	Exhausted bool // there are no others
	Wins      int  // steps that made a lease
	Broken    string
	Story     []string // a way to what broke, from which nothing can be left out
}

// explored bounds the worlds that the explorer can hold.
const explored = 3

// exploration is a search through all that can happen to a few attempts of the
// protocol that ships, where any message may arrive at any time, twice or never,
// and any grant may expire at any moment. No time passes in it, so what holds
// here holds whatever clocks do: tokens differ and grow.
//
// Not every order of events is tried: tinyWorld says which are left out, and why
// nothing is missed by that.
type exploration struct {
	cfg    ExploreConfig
	proto  protocol.Config
	rules  rules
	seen   hashSet
	path   []move
	report ExploreReport
	outs   []protocol.Output

	told bool // the latest step sent something, or ended the attempt

	// A test explores without any shortcut, and compares what can come of it.
	next     func(s *tinyWorld, yield func(move, *tinyWorld))
	hash     func(s *tinyWorld) uint64
	outcomes map[string]bool
}

// Explore tries everything that can happen within the bounds.
func Explore(cfg ExploreConfig) (ExploreReport, error) {
	if cfg.Clients < 1 || cfg.Clients > explored || cfg.Nodes < 1 || cfg.Nodes > explored ||
		cfg.Duplicates < 0 || cfg.Duplicates > 3 || cfg.Amnesias < 0 || cfg.Amnesias > 2 || cfg.Ahead < 0 || cfg.Ahead > 9 {
		return ExploreReport{}, fmt.Errorf("sim: explore takes 1 to %d attempts and nodes, up to 3 duplicates, up to 2 losses of data, and hints up to 9 apart", explored)
	}
	x := newExploration(cfg)
	x.run()
	return x.report, nil
}

func newExploration(cfg ExploreConfig) *exploration {
	setDefault(&cfg.MaxStates, 200*million)
	world := Config{Nodes: cfg.Nodes, Without: cfg.Without, NoRenew: true}
	world.fill()
	x := &exploration{cfg: cfg, proto: world.protocolConfig(), rules: rules{without: cfg.Without, grain: 1, horizon: protocol.MaxToken}}
	x.next, x.hash = x.successors, x.key
	return x
}

func (x *exploration) run() {
	first := tinyWorld{mayStart: true, amnesias: int8(x.cfg.Amnesias)}
	x.report.Exhausted = true
	x.visit(&first)
	x.report.States = x.seen.n
	if x.report.Broken != "" {
		x.report.Exhausted = false
		x.tell()
	}
}

// visit goes on from a state that was not seen before.
func (x *exploration) visit(s *tinyWorld) {
	x.next(s, func(m move, next *tinyWorld) {
		if x.report.Broken != "" || !x.report.Exhausted {
			return
		}
		x.report.Steps++
		x.path = append(x.path, m)
		if next.broken != "" {
			x.report.Broken = next.broken
			return
		}
		if x.isNew(next) {
			x.visit(next)
		}
		if x.report.Broken == "" {
			x.path = x.path[:len(x.path)-1]
		}
	})
}

func (x *exploration) isNew(s *tinyWorld) bool {
	if x.settled(s) || !x.seen.add(x.hash(s)) {
		return false
	}
	x.report.Exhausted = x.seen.n < x.cfg.MaxStates
	if x.cfg.Progress != nil && x.seen.n%million == 0 {
		x.cfg.Progress(x.seen.n)
	}
	return x.report.Exhausted
}

// tell makes the way to what broke as short as leaving out moves makes it, and
// puts it in words.
func (x *exploration) tell() {
	path := slices.Clone(x.path)
	for i := len(path) - 1; i >= 0; i-- {
		shorter := slices.Delete(slices.Clone(path), i, i+1)
		if _, broken := x.replay(shorter); broken != "" {
			path, x.report.Broken = shorter, broken
			i = min(i, len(path))
		}
	}
	x.report.Story, _ = x.replay(path)
}

// replay goes along a path as far as it can, and tells of it.
func (x *exploration) replay(path []move) (story []string, broken string) {
	s := tinyWorld{mayStart: true, amnesias: int8(x.cfg.Amnesias)}
	for _, m := range path {
		before := s
		if !x.do(&s, m) {
			return story, ""
		}
		story = append(story, tellMove(&before, &s, m)...)
		if s.broken != "" {
			return append(story, s.broken), s.broken
		}
	}
	return story, ""
}
