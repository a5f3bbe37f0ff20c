package protocol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The oracle is a second opinion on who wins a round, written from docs/design.md
// and from nothing else: it keeps no state, reads the whole history again after
// each answer, and counts with maps. It is slow and shares no code with Attempt.
type oracle struct {
	nodes, quorum int
}

// answerSeen is a line of the history: what a node said to which operation, or
// that its time was up (unknown).
type answerSeen struct {
	node    int
	op      string // "acquire" or "confirm"
	outcome string // "granted", "refused", "unknown" or "barred"
	fence   uint64
}

func (a answerSeen) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%d %s %s %d", a.node, a.op, a.outcome, a.fence), " 0")
}

// A history is a list of moments; several answers come at one moment only when
// their time is up.
type history [][]answerSeen

// judge says how the round is decided at the latest moment, if it was not
// decided before; "" if it is open.
func (o oracle) judge(h history) string {
	if token, won := o.won(h); won {
		return fmt.Sprintf("won %d", token)
	}
	failed, answered := 0, 0
	for node := range o.nodes {
		switch o.lastWord(h, node) {
		case "unknown", "barred":
			failed++
		case "granted", "refused":
			answered++
		}
	}
	switch {
	case o.hope(h):
		return ""
	case o.nodes-failed < o.quorum:
		return NoQuorum.String()
	case answered >= o.quorum:
		return Contended.String()
	}
	return "" // it is lost, but nobody can say yet by whom
}

// standing has the fences of the grants that have been made and not been denied
// since.
func (o oracle) standing(h history) map[int]uint64 {
	grants := map[int]uint64{}
	for _, moment := range h {
		for _, a := range moment {
			switch {
			case a.op == "acquire" && a.outcome == "granted":
				grants[a.node] = a.fence
			case a.op == "confirm" && (a.outcome == "refused" || a.outcome == "barred"):
				delete(grants, a.node)
			}
		}
	}
	return grants
}

// token is the largest fence as of the first moment at which a quorum has
// granted: that is when the second trip begins.
func (o oracle) token(h history) (uint64, bool) {
	for moments := range len(h) + 1 {
		grants := o.standing(h[:moments])
		if len(grants) >= o.quorum {
			var largest uint64
			for _, fence := range grants {
				largest = max(largest, fence)
			}
			return largest, true
		}
	}
	return 0, false
}

// won: a quorum has one and the same fence, or a quorum has the token, be it as
// its fence or by a confirm.
func (o oracle) won(h history) (uint64, bool) {
	grants := o.standing(h)
	tally := map[uint64]int{}
	for _, fence := range grants {
		tally[fence]++
	}
	for fence, votes := range tally {
		if votes >= o.quorum {
			return fence, true
		}
	}
	token, second := o.token(h)
	if !second {
		return 0, false
	}
	have := map[int]bool{}
	for node, fence := range grants {
		if fence == token || fence < token && o.said(h, node, "confirm") == "granted" {
			have[node] = true
		}
	}
	return token, len(have) >= o.quorum
}

// asked says that a confirm has been sent: to those who granted less than the
// token.
func (o oracle) askedToConfirm(h history, node int) (fence, token uint64, asked bool) {
	token, second := o.token(h)
	if !second {
		return 0, 0, false
	}
	for _, moment := range h {
		for _, a := range moment {
			if a.node == node && a.op == "acquire" && a.outcome == "granted" {
				fence = a.fence
			}
		}
	}
	return fence, token, fence != 0 && fence < token
}

func (o oracle) said(h history, node int, op string) string {
	for _, moment := range h {
		for _, a := range moment {
			if a.node == node && a.op == op {
				return a.outcome
			}
		}
	}
	return ""
}

// lastWord is the answer to what the node was asked last, "" if it is due.
func (o oracle) lastWord(h history, node int) string {
	if _, _, asked := o.askedToConfirm(h, node); asked {
		return o.said(h, node, "confirm")
	}
	return o.said(h, node, "acquire")
}

// hope: would it be won if all nodes that have not answered yet did their best?
// A node that failed is not hoped for.
func (o oracle) hope(h history) bool {
	token, second := o.token(h)
	best := map[uint64]bool{max(token, 1): true}
	for _, fence := range o.standing(h) {
		best[fence] = true
	}
	var trusted []answerSeen
	for node := range o.nodes {
		if w := o.lastWord(h, node); w == "unknown" || w == "barred" {
			continue
		}
		for _, moment := range h {
			for _, a := range moment {
				if a.node == node {
					trusted = append(trusted, a)
				}
			}
		}
	}
	for fence := range best {
		dream := history{trusted}
		for node := range o.nodes {
			if o.said(h, node, "acquire") == "" {
				dream = append(dream, []answerSeen{{node, "acquire", "granted", fence}})
			}
		}
		if o.dreamComesTrue(dream, token, second) {
			return true
		}
	}
	return false
}

// dreamComesTrue answers all confirms with yes. When the second trip began, and
// with which token, is no dream.
func (o oracle) dreamComesTrue(dream history, token uint64, second bool) bool {
	grants := o.standing(dream)
	if !second {
		return len(grants) >= o.quorum
	}
	tally, have := map[uint64]int{}, 0
	for _, fence := range grants {
		tally[fence]++
		if fence <= token {
			have++
		}
	}
	for _, votes := range tally {
		if votes >= o.quorum {
			return true
		}
	}
	return have >= o.quorum
}

// match plays rounds: at each point every choice that is open, on a clone.
type match struct {
	t        *testing.T
	cfg      Config
	oracle   oracle
	answers  []answerSeen // to an acquire
	confirms []string     // outcomes of a confirm
	anyOrder bool         // else nodes answer in order, which is as good: they are alike
	rounds   int
	hopes    map[string]int
}

// position is a round so far.
type position struct {
	machine  Attempt
	history  history
	asked    []Request // by node: unanswered
	verdict  string
	confirms []string // sent
}

func (m *match) play() {
	p := position{machine: New(&m.cfg), asked: make([]Request, m.cfg.Nodes)}
	m.step(&p, storyStart, Input{Kind: Start, TTL: storyTTL})
	m.branch(p)
}

func (m *match) step(p *position, now Instant, in Input) {
	for _, out := range p.machine.Step(now, in, nil) {
		switch out.Kind {
		case Send:
			if out.Request.Op == Confirm {
				p.confirms = append(p.confirms, fmt.Sprintf("%d: %d to %d", out.Node, out.Request.Fence, out.Request.Token))
			}
			p.asked[out.Node] = out.Request
		case Won:
			p.verdict = fmt.Sprintf("won %d", out.Token)
		case Failed:
			p.verdict = out.Failure.Reason.String()
		}
	}
}

func (m *match) branch(p position) {
	m.compare(&p)
	if p.verdict != "" {
		m.rounds++
		m.hopes[p.verdict]++
		return
	}
	open := 0
	for node, req := range p.asked {
		switch req.Op {
		case Acquire:
			if m.anyOrder || open&1 == 0 {
				for _, a := range m.answers {
					m.answer(p, node, a)
				}
			}
			open |= 1
		case Confirm:
			if m.anyOrder || open&2 == 0 {
				for _, outcome := range m.confirms {
					m.answer(p, node, answerSeen{op: "confirm", outcome: outcome})
				}
			}
			open |= 2
		}
	}
	m.timeUp(p)
}

func (p *position) clone() position {
	q := *p
	q.machine = p.machine.Clone()
	q.history = append(history{}, p.history...)
	q.asked = append([]Request{}, p.asked...)
	q.confirms = append([]string{}, p.confirms...)
	return q
}

func (m *match) answer(p position, node int, a answerSeen) {
	q := p.clone()
	a.node = node
	req := q.asked[node]
	q.asked[node] = Request{}
	q.history = append(q.history, []answerSeen{a})
	m.step(&q, storyStart.Add(time.Millisecond), Input{Kind: Voted, Node: node, Request: req.ID, Op: req.Op,
		Vote: Vote{Outcome: outcomeNames[a.outcome], Fence: a.fence}})
	m.branch(q)
}

// timeUp lets every deadline pass at once. Then there must be a verdict.
func (m *match) timeUp(p position) {
	q := p.clone()
	var moment []answerSeen
	for node, req := range q.asked {
		if req.Op != 0 {
			moment = append(moment, answerSeen{node: node, op: req.Op.String(), outcome: "unknown"})
			q.asked[node] = Request{}
		}
	}
	q.history = append(q.history, moment)
	m.step(&q, storyStart.Add(time.Millisecond+m.cfg.NodeTimeout), Input{Kind: Tick})
	m.compare(&q)
	require.NotEmpty(m.t, q.verdict, "no verdict when time is up: %v", q.history)
	m.rounds++
	m.hopes[q.verdict]++
}

func (m *match) compare(p *position) {
	if want := m.oracle.judge(p.history); want != p.verdict {
		m.t.Fatalf("%d nodes, quorum %d: %v: the machine says %q, the oracle %q",
			m.cfg.Nodes, m.cfg.Quorum, p.history, p.verdict, want)
	}
	if p.verdict != "" {
		return // what it sends then are releases
	}
	var want []string
	for node := range m.cfg.Nodes {
		if fence, token, asked := m.oracle.askedToConfirm(p.history, node); asked {
			want = append(want, fmt.Sprintf("%d: %d to %d", node, fence, token))
		}
	}
	require.ElementsMatch(m.t, want, p.confirms, "%v", p.history)
}

// Every way a round can go, for groups up to seven nodes: each node grants with
// one of two or three fences, refuses, fails, is barred, or keeps silent; each
// confirm is granted, refused or fails, at any time in between.
func TestEveryRoundIsDecidedAsTheOracleSays(t *testing.T) {
	granted := func(fence uint64) answerSeen { return answerSeen{op: "acquire", outcome: "granted", fence: fence} }
	other := func(outcome string) answerSeen { return answerSeen{op: "acquire", outcome: outcome} }
	full := []answerSeen{granted(1), granted(2), granted(3), other("refused"), other("unknown"), other("barred")}
	plain := []answerSeen{granted(1), granted(2), other("refused"), other("unknown")}
	every := []string{"granted", "refused", "unknown", "barred"}
	for _, c := range []struct {
		nodes, quorum int
		answers       []answerSeen
		confirms      []string
		anyOrder      bool
	}{
		{1, 1, full, every, true},
		{2, 2, full, every, true},
		{3, 2, full, every, true},
		{3, 3, plain, every, true},
		{4, 3, plain, []string{"granted", "refused"}, true},
		{4, 3, full, every, false},
		{4, 4, plain, every, false},
		{5, 3, plain, []string{"granted", "refused", "unknown"}, false},
		{5, 4, plain, []string{"granted", "unknown"}, false},
		{6, 4, plain, []string{"granted"}, false},
		{7, 4, plain, []string{"granted"}, false},
	} {
		t.Run(fmt.Sprintf("quorum %d of %d, any order %v", c.quorum, c.nodes, c.anyOrder), func(t *testing.T) {
			t.Parallel()
			cfg := storyConfig(c.nodes)
			cfg.Quorum = c.quorum
			m := match{t: t, cfg: cfg, oracle: oracle{c.nodes, c.quorum}, answers: c.answers,
				confirms: c.confirms, anyOrder: c.anyOrder, hopes: map[string]int{}}
			m.play()
			require.NotEmpty(t, m.hopes["won 1"])
			require.NotEmpty(t, m.hopes[Contended.String()])
			require.NotEmpty(t, m.hopes[NoQuorum.String()])
			t.Logf("%d rounds: %v", m.rounds, m.hopes)
		})
	}
}
