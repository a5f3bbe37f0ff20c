package sim

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// Scenario is a story of faults, what comes of it, and what would without the
// defences that it is about.
type Scenario struct {
	Name   string
	Title  string
	Story  string
	Config Config
	Expect Verdict
	Waits  time.Duration // nobody waits for longer, in the story itself; zero for no bound
	Twins  []Twin
	Real   []Real
}

// Real is a quorum of real servers that a story can be told on as well, by
// sim/chaos.
type Real struct {
	Quorum string // such as "redis" or "mixed"
	Expect Verdict
	Scale  int           // how many times shorter
	HealAt time.Duration // instead of the Config's; 0 for the same
}

// Twin is the same story without a defence.
type Twin struct {
	Without Defence
	Expect  Verdict
	Breaks  Invariant // 0 for any
}

//go:embed scenarios/*.txt
var scenarioFiles embed.FS

// Scenarios are the stories that ship, in the order of their names.
func Scenarios() []Scenario {
	files, err := fs.Glob(scenarioFiles, "scenarios/*.txt")
	if err != nil {
		panic(err)
	}
	var out []Scenario
	for _, file := range files {
		text, err := scenarioFiles.ReadFile(file)
		if err != nil {
			panic(err)
		}
		s, err := ParseScenario(strings.TrimSuffix(path.Base(file), ".txt"), string(text))
		if err != nil {
			panic(err) // a test reads them all
		}
		out = append(out, s)
	}
	return out
}

// ParseScenario reads a scenario, a line each for its parts:
//
//	title   A pause after the win
//	story   What happens, in words. More such lines go on with it.
//	world   nodes=5 clients=2 ttl=10s renew=off
//	client  c1 hold=30s write=1s times=1
//	fault   on c1 checks#2 pause c1 for 15s
//	expect  unsafe without fencing
//	waits   12s
//	twin    restart-guard: violated I1
//	real    redis mixed scale=8 heal=30s
//	real    zk: safe
//
// Lines that begin with # are comments. World and client settings are those of
// Config and Work; what they leave out has its default. Lines with real come last:
// they name the quorums of real servers that sim/chaos tells the story on, how many
// times shorter, when all faults end there, and the verdict if it is another.
func ParseScenario(name, text string) (Scenario, error) {
	s := Scenario{Name: name, Config: Config{Name: name, Seed: 1, HealAt: time.Minute}}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if err := s.line(word, strings.TrimSpace(rest)); err != nil {
			return s, fmt.Errorf("sim: scenario %s, line %d: %w", name, i+1, err)
		}
	}
	if s.Expect == 0 || s.Title == "" {
		return s, fmt.Errorf("sim: scenario %s: title or expect is missing", name)
	}
	if err := s.Config.Check(); err != nil {
		return s, fmt.Errorf("sim: scenario %s: %w", name, err)
	}
	return s, nil
}

func (s *Scenario) line(word, rest string) (err error) {
	switch word {
	case "title":
		s.Title = rest
	case "story":
		s.Story = strings.TrimSpace(s.Story + " " + rest)
	case "world":
		err = settings(rest, s.Config.set)
	case "client":
		err = s.client(rest)
	case "fault":
		var f Fault
		f, err = ParseFault(rest)
		s.Config.Faults = append(s.Config.Faults, f)
	case "expect":
		s.Expect, err = ParseVerdict(rest)
	case "waits":
		s.Waits, err = time.ParseDuration(rest)
	case "real":
		err = s.real(rest)
	case "twin":
		var t Twin
		t, err = parseTwin(rest)
		s.Twins = append(s.Twins, t)
	default:
		err = fmt.Errorf("what is %q? use title, story, world, client, fault, expect, waits, twin or real", word)
	}
	return err
}

func (s *Scenario) client(text string) error {
	who, rest, _ := strings.Cut(text, " ")
	p := faultParser{}
	index := p.indexed("c", who)
	if p.err != nil {
		return p.err
	}
	var w Work
	w.Exact = true
	if err := settings(rest, w.set); err != nil {
		return err
	}
	if index == all {
		s.Config.Work = w
		return nil
	}
	for len(s.Config.Plans) <= index {
		s.Config.Plans = append(s.Config.Plans, s.Config.Work)
	}
	s.Config.Plans[index] = w
	return nil
}

func (s *Scenario) real(text string) (err error) {
	names, verdict, found := strings.Cut(text, ":")
	expect := s.Expect
	if found {
		if expect, err = ParseVerdict(strings.TrimSpace(verdict)); err != nil {
			return err
		}
	}
	if expect == 0 {
		return errors.New("expect comes before real")
	}
	var quorums []string
	var heal time.Duration
	scale := 1
	for word := range strings.FieldsSeq(names) {
		switch setting, value, _ := strings.Cut(word, "="); {
		case setting == "scale" && value != "":
			if scale, err = strconv.Atoi(value); err != nil || scale < 1 {
				return fmt.Errorf("%q is no scale", word)
			}
		case setting == "heal" && value != "":
			if heal, err = time.ParseDuration(value); err != nil {
				return err
			}
		default:
			quorums = append(quorums, word)
		}
	}
	for _, q := range quorums {
		s.Real = append(s.Real, Real{Quorum: q, Expect: expect, Scale: scale, HealAt: heal})
	}
	return nil
}

func parseTwin(text string) (t Twin, err error) {
	names, verdict, found := strings.Cut(text, ":")
	if !found {
		return t, fmt.Errorf("%q is not of the form DEFENCE: VERDICT", text)
	}
	if t.Without, err = ParseDefence(names); err != nil {
		return t, err
	}
	verdict = strings.TrimSpace(verdict)
	if at := strings.LastIndex(verdict, " I"); at > 0 {
		number, err := strconv.Atoi(verdict[at+2:])
		if err != nil || number < 1 || number > int(Determinism) {
			return t, fmt.Errorf("%q names no invariant", verdict)
		}
		t.Breaks, verdict = Invariant(number), verdict[:at]
	}
	t.Expect, err = ParseVerdict(verdict)
	return t, err
}

// settings reads name=value, or name alone for what is on or off.
func settings(text string, set func(name, value string) error) error {
	for word := range strings.FieldsSeq(text) {
		name, value, found := strings.Cut(word, "=")
		if !found {
			value = "on"
		}
		if err := set(name, value); err != nil {
			return fmt.Errorf("%s: %w", word, err)
		}
	}
	return nil
}

func (c *Config) set(name, value string) (err error) {
	durations := map[string]*time.Duration{
		"ttl": &c.TTL, "max-ttl": &c.MaxTTL, "min-validity": &c.MinValidity, "node-timeout": &c.NodeTimeout,
		"max-hold": &c.MaxHold, "outage-wait": &c.OutageWait, "latency": &c.Latency, "jitter": &c.Jitter,
		"heal": &c.HealAt, "wall-spread": &c.WallSpread, "takes-long": &c.TakesLong,
	}
	numbers := map[string]*int64{
		"loss-ppm": &c.LossPPM, "duplicates-ppm": &c.DuplicatesPPM, "rates-ppm": &c.RatesPPM, "drift-ppm": &c.DriftPPM,
		"deaf-ppm": &c.DeafPPM,
	}
	switch {
	case durations[name] != nil:
		*durations[name], err = time.ParseDuration(value)
	case numbers[name] != nil:
		*numbers[name], err = strconv.ParseInt(value, 10, 64)
	case name == "nodes":
		c.Nodes, err = strconv.Atoi(value)
	case name == "clients":
		c.Clients, err = strconv.Atoi(value)
	case name == "seed":
		c.Seed, err = strconv.ParseUint(value, 0, 64)
	case name == "renew":
		c.NoRenew = value == "off"
	case name == "queues":
		c.NoQueues = value == "off"
	case name == "strict":
		c.Strict = value == "on"
	case name == "handoffs":
		c.Handoffs, err = strconv.Atoi(value)
	case name == "alias":
		c.Alias = value == "on"
	case name == "young":
		c.Young = value == "on"
	case name == "members":
		p := faultParser{}
		c.Members, err = p.nodes(value), p.err
	case name == "kinds":
		err = c.setKinds(value)
	default:
		err = fmt.Errorf("there is no such setting")
	}
	return err
}

func (c *Config) setKinds(value string) error {
	for word := range strings.SplitSeq(value, ",") {
		var k Kind
		if err := k.UnmarshalText([]byte(word)); err != nil {
			return err
		}
		c.Kinds = append(c.Kinds, k)
	}
	return nil
}

func (w *Work) set(name, value string) (err error) {
	durations := map[string]*time.Duration{
		"start": &w.Start, "think": &w.Think, "hold": &w.Hold, "write": &w.WriteEvery, "extend": &w.ExtendBy, "patience": &w.Patience,
	}
	switch {
	case durations[name] != nil:
		*durations[name], err = time.ParseDuration(value)
	case name == "times":
		w.Times, err = strconv.Atoi(value)
	case name == "users":
		w.Users, err = strconv.Atoi(value)
	case name == "idle":
		w.Idle = value == "on"
	default:
		err = fmt.Errorf("there is no such setting")
	}
	return err
}

// ScenarioResult is a scenario's run and those of its twins.
type ScenarioResult struct {
	Scenario Scenario
	Report   Report
	Twins    []Report
	Wrong    []string // what was not as expected
}

// Run runs the scenario and its twins and compares the verdicts.
func (s Scenario) Run(record bool) ScenarioResult {
	cfg := s.Config
	cfg.Record = record
	out := ScenarioResult{Scenario: s, Report: Run(cfg)}
	out.compare("", out.Report, s.Expect, 0)
	if longest := out.Report.Stats.LongestWait; s.Waits > 0 && longest > s.Waits {
		out.Wrong = append(out.Wrong, fmt.Sprintf("somebody waited for %v, expected %v at the most", longest, s.Waits))
	}
	for _, t := range s.Twins {
		twin := cfg
		twin.Without |= t.Without
		r := Run(twin)
		out.Twins = append(out.Twins, r)
		out.compare("without "+t.Without.String()+": ", r, t.Expect, t.Breaks)
	}
	return out
}

func (s *ScenarioResult) compare(prefix string, r Report, expect Verdict, breaks Invariant) {
	if r.Verdict != expect {
		s.Wrong = append(s.Wrong, fmt.Sprintf("%s%v, expected %v", prefix, r.Verdict, expect))
	}
	if breaks == 0 {
		return
	}
	for _, v := range r.Violations {
		if v.Invariant == breaks {
			return
		}
	}
	s.Wrong = append(s.Wrong, fmt.Sprintf("%s%v holds, expected it to break", prefix, breaks))
}
