package protocol

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A story is a script of what happens to one attempt, a line an event, and of
// what it does about it:
//
//	1ms  0-2 granted 7  ->  won 7 until 1186ms
//
// On the left: the time since the start of the story, then an input. Votes name
// nodes ("2", "0-2", "0,3", "all") and an outcome; they answer the node's latest
// request, or, if an operation is named before the outcome, the oldest
// unanswered request of that kind. What follows an outcome is a fence, a
// duration (how long the holder remains, or the node is barred) or counter=n.
// The other inputs are: start [HINT [SPARE]], tick, take, prolong TTL, pass,
// unlock, drain.
//
// On the right: all outputs but timers, in order. Timers are watched by the
// runner: no story may let one pass without a tick, unless the line says "late",
// and no tick may come before its timer.
type story struct {
	t       *testing.T
	cfg     Config
	ttl     time.Duration
	machine Attempt
	timer   Instant
	asked   [][]Request // by node, unanswered
	latest  []Request   // by node
}

// storyStart is the instant of a story's beginning; its clock began before.
const storyStart = Instant(time.Hour)

// storyConfig is the usual one: grants are for 1200 ms, of which 14 ms are taken
// off for drift; a renewal is due every 400 ms.
func storyConfig(nodes int) Config {
	return Config{
		Nodes:       nodes,
		Quorum:      Majority(nodes),
		NodeTimeout: 100 * time.Millisecond,
		MaxTTL:      10 * time.Second,
		MinValidity: 500 * time.Millisecond,
		DriftPPM:    10_000,
		RetryMin:    2 * time.Millisecond,
		RetryMax:    250 * time.Millisecond,
		OutageWait:  100 * time.Millisecond,
	}
}

const storyTTL = 1200 * time.Millisecond

// tell runs a story on the usual configuration.
func tell(t *testing.T, nodes int, script string) *story {
	t.Helper()
	return tellWith(t, storyConfig(nodes), storyTTL, script)
}

func tellWith(t *testing.T, cfg Config, ttl time.Duration, script string) *story {
	t.Helper()
	s := &story{t: t, cfg: cfg, ttl: ttl, asked: make([][]Request, cfg.Nodes), latest: make([]Request, cfg.Nodes)}
	s.machine = New(&s.cfg)
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			s.line(line)
		}
	}
	return s
}

func (s *story) line(line string) {
	s.t.Helper()
	event, want, found := strings.Cut(line, "->")
	require.True(s.t, found, "no arrow in %q", line)
	words := strings.Fields(event)
	at, err := time.ParseDuration(words[0])
	require.NoError(s.t, err, line)
	now := storyStart.Add(at)
	words = words[1:]
	if late := words[0] == "late"; late {
		words = words[1:]
	} else if words[0] != "tick" {
		require.False(s.t, s.timer != 0 && s.timer < now, "%q passes over the timer at %v", line, s.timer.Sub(storyStart))
	}
	var out []Output
	for _, in := range s.inputs(line, words, now) {
		out = s.step(now, in, out)
	}
	require.Equal(s.t, strings.TrimSpace(want), s.render(out), "%s", line)
}

// step steps the machine, and a clone of it, which must do the same.
func (s *story) step(now Instant, in Input, out []Output) []Output {
	s.t.Helper()
	twin := s.machine.Clone()
	again := twin.Step(now, in, nil)
	from := len(out)
	out = s.machine.Step(now, in, out)
	require.Equal(s.t, append([]Output{}, again...), append([]Output{}, out[from:]...), "a clone does something else")
	for _, o := range out[from:] {
		switch o.Kind {
		case Send:
			s.asked[o.Node] = append(s.asked[o.Node], o.Request)
			s.latest[o.Node] = o.Request
			require.Equal(s.t, now.Add(s.cfg.NodeTimeout), o.Request.Deadline)
		case SetTimer:
			s.timer = o.At
		}
	}
	return out
}

func (s *story) inputs(line string, words []string, now Instant) []Input {
	s.t.Helper()
	switch words[0] {
	case "start":
		in := Input{Kind: Start, TTL: s.ttl}
		if len(words) > 1 {
			in.Hint = s.number(words[1])
		}
		if len(words) > 2 {
			in.Spare = s.number(words[2])
		}
		return []Input{in}
	case "tick":
		require.True(s.t, s.timer != 0 && s.timer <= now, "%q: there is no timer at that time, but at %v", line, s.timer.Sub(storyStart))
		return []Input{{Kind: Tick}}
	case "take":
		return []Input{{Kind: Take}}
	case "prolong":
		return []Input{{Kind: Prolong, TTL: s.duration(words[1])}}
	case "pass":
		return []Input{{Kind: Pass}}
	case "unlock":
		return []Input{{Kind: Relinquish}}
	case "drain":
		return []Input{{Kind: Drain}}
	}
	var ins []Input
	for _, node := range s.nodes(words[0]) {
		ins = append(ins, s.vote(line, node, words[1:]))
	}
	return ins
}

var (
	opNames      = map[string]Op{"acquire": Acquire, "confirm": Confirm, "extend": Extend, "release": Release}
	outcomeNames = map[string]Outcome{"granted": Granted, "refused": Refused, "unknown": Unknown, "barred": Barred}
)

// vote answers a request of the node's.
func (s *story) vote(line string, node int, words []string) Input {
	s.t.Helper()
	req := s.latest[node]
	if op, ok := opNames[words[0]]; ok {
		i := slices.IndexFunc(s.asked[node], func(r Request) bool { return r.Op == op })
		require.GreaterOrEqual(s.t, i, 0, "%q: no such request is open", line)
		req, words = s.asked[node][i], words[1:]
	}
	i := slices.IndexFunc(s.asked[node], func(r Request) bool { return r.ID == req.ID })
	require.GreaterOrEqual(s.t, i, 0, "%q: node %d has answered all", line, node)
	s.asked[node] = slices.Delete(s.asked[node], i, i+1)
	in := Input{Kind: Voted, Node: node, Request: req.ID, Op: req.Op,
		Sent: req.Deadline.Add(-s.cfg.NodeTimeout), TTL: req.TTL, Fence: req.Fence}
	outcome, ok := outcomeNames[words[0]]
	require.True(s.t, ok, line)
	in.Vote.Outcome = outcome
	for _, w := range words[1:] {
		if counter, ok := strings.CutPrefix(w, "counter="); ok {
			in.Vote.Counter = s.number(counter)
		} else if n, err := strconv.ParseUint(w, 10, 64); err == nil {
			in.Vote.Fence, in.Vote.Counter = n, n
		} else if outcome == Refused {
			in.Vote.Remaining = s.duration(w)
		} else {
			in.Vote.BarredFor = s.duration(w)
		}
	}
	return in
}

func (s *story) nodes(word string) []int {
	s.t.Helper()
	var nodes []int
	for part := range strings.SplitSeq(word, ",") {
		first, last, isRange := strings.Cut(part, "-")
		switch {
		case part == "all":
			first, last = "0", strconv.Itoa(s.cfg.Nodes-1)
		case !isRange:
			last = first
		}
		for n := s.number(first); n <= s.number(last); n++ {
			nodes = append(nodes, int(n))
		}
	}
	return nodes
}

func (s *story) number(word string) uint64 {
	s.t.Helper()
	n, err := strconv.ParseUint(word, 10, 64)
	require.NoError(s.t, err)
	return n
}

func (s *story) duration(word string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(word)
	require.NoError(s.t, err)
	return d
}

// render writes outputs as stories do. Requests alike are written as one.
func (s *story) render(outputs []Output) string {
	var parts []string
	nodes, last := "", ""
	flush := func() {
		if nodes != "" {
			parts = append(parts, strings.Replace(last, "*", nodes, 1))
		}
		nodes, last = "", ""
	}
	for _, o := range outputs {
		text := s.text(o)
		if o.Kind == Send {
			if text != last {
				flush()
			}
			nodes, last = strings.TrimPrefix(fmt.Sprintf("%s,%d", nodes, o.Node), ","), text
			continue
		}
		flush()
		if text != "" {
			parts = append(parts, text)
		}
	}
	flush()
	return strings.Join(parts, "; ")
}

func (s *story) text(o Output) string {
	until := o.Until.Sub(storyStart).String()
	switch o.Kind {
	case Send:
		return s.request(o.Request)
	case Won:
		return fmt.Sprintf("won %d until %s", o.Token, until)
	case Failed:
		text := "failed: " + o.Failure.Reason.String()
		if o.Failure.Remaining > 0 {
			text += fmt.Sprintf(", free in %v", o.Failure.Remaining)
		}
		if o.Failure.HealsIn > 0 {
			text += fmt.Sprintf(", heals in %v", o.Failure.HealsIn)
		}
		return text
	case Renewed:
		return "valid until " + until
	case Prolonged:
		return "prolonged"
	case NotProlonged:
		return "not prolonged: " + o.Reason.String()
	case Passed:
		return fmt.Sprintf("passed %d until %s", o.Token, until)
	case NotPassed:
		return "not passed"
	case Lost:
		return "lost: " + o.Reason.String()
	case Released:
		return "released"
	case NotReleased:
		return "not released"
	case Finished:
		if !o.Free {
			return "finished, but not free"
		}
		return "finished"
	}
	return ""
}

func (s *story) request(r Request) string {
	text := r.Op.String() + " *"
	switch r.Op {
	case Confirm:
		text += fmt.Sprintf(" %d to %d", r.Fence, r.Token)
	case Extend:
		text += fmt.Sprintf(" of %d", r.Fence)
	case Acquire:
		if r.Hint > 0 {
			text += fmt.Sprintf(" from %d", r.Hint)
		}
	}
	if (r.Op == Extend || r.Op == Acquire) && r.TTL != s.ttl {
		text += fmt.Sprintf(" for %v", r.TTL)
	}
	return text
}
