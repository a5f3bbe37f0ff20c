package protocol

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// FuzzAttempt feeds an attempt with anything: answers in any order, twice, from
// nodes that do not exist, to requests that were never sent; calls at any time.
// Whatever comes, it must not panic, must not win twice, must not believe in more
// validity than the grants it was told of give, and must come to an end.
//
// Four bytes are an input: what it is, and three arguments.
func FuzzAttempt(f *testing.F) {
	const (
		vote = iota
		stale
		nonsense
		tick
		prolong
		take
		relinquish
		drain
		wait
	)
	won := []byte{vote, 0, 0, 7, vote, 1, 0, 7, vote, 2, 0, 7, take, 0, 0, 0}
	script := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	f.Add(uint8(3), uint8(0), won)
	f.Add(uint8(3), uint8(0), script(won, []byte{relinquish, 0, 0, 0, vote, 0, 0, 0, vote, 1, 2, 0, tick, 0, 0, 0, tick, 0, 0, 0}))
	f.Add(uint8(3), uint8(1), script(won, []byte{tick, 0, 0, 0, vote, 0, 0, 0, vote, 1, 1, 0, vote, 1, 0, 9, vote, 2, 0, 0, tick, 0, 0, 0}))
	f.Add(uint8(5), uint8(2), []byte{vote, 0, 0, 1, vote, 1, 0, 2, vote, 2, 0, 3, vote, 0, 0, 0, vote, 1, 1, 0, vote, 3, 0, 3, vote, 3, 0, 0})
	f.Add(uint8(4), uint8(3), []byte{vote, 0, 3, 1, vote, 1, 1, 0, vote, 2, 2, 0, vote, 3, 1, 0, stale, 0, 0, 7, drain, 0, 0, 0})
	f.Add(uint8(3), uint8(4), script(won, []byte{prolong, 200, 0, 0, wait, 90, 0, 0, vote, 0, 0, 0, stale, 2, 0, 7, vote, 1, 0, 0, take, 0, 0, 0}))
	f.Add(uint8(1), uint8(5), []byte{nonsense, 0, 0, 0, nonsense, 255, 9, 3, vote, 0, 0, 1, nonsense, 0, 0, 1, tick, 0, 0, 0, drain, 0, 0, 0})
	f.Add(uint8(7), uint8(6), []byte{relinquish, 0, 0, 0, vote, 0, 0, 1, vote, 3, 0, 1, tick, 0, 0, 0, tick, 0, 0, 0, drain, 0, 0, 0})
	f.Fuzz(func(t *testing.T, nodes, options uint8, script []byte) {
		z := newFuzzed(t, int(nodes%7)+1, options)
		for ; len(script) >= 4 && len(z.inputs) < 400; script = script[4:] {
			kind, node, outcome, number := script[0]%(wait+1), int(script[1]), Outcome(script[2]%4)+Granted, uint64(script[3])
			v := Vote{Outcome: outcome, Fence: number, Counter: number, Remaining: time.Duration(number), BarredFor: time.Duration(number % 2)}
			switch kind {
			case vote:
				z.answer(node%z.cfg.Nodes, false, v)
			case stale:
				z.answer(node%z.cfg.Nodes, true, v)
			case nonsense:
				z.nonsense = true
				z.step(Input{Kind: Voted, Node: node - 1, Op: Op(script[2] % 6), Request: uint32(number), Sent: z.now, TTL: fuzzTTL, Fence: number, Vote: v})
			case tick:
				z.tick()
			case prolong:
				z.take() // only who has the lease can prolong it
				z.step(Input{Kind: Prolong, TTL: fuzzTTL/2 + time.Duration(node)*fuzzTTL/64})
			case take:
				z.take()
			case relinquish:
				z.step(Input{Kind: Relinquish})
			case drain:
				z.step(Input{Kind: Drain})
			case wait:
				z.now = z.now.Add(time.Duration(node) * time.Millisecond)
			}
		}
		z.finish()
	})
}

const fuzzTTL = 400 * time.Millisecond

// fuzzed checks one attempt from outside.
type fuzzed struct {
	t       *testing.T
	cfg     Config
	machine Attempt
	now     Instant
	timer   Instant
	inputs  []string

	sent     []sentRequest
	told     []grantTold // all grants it was told of, in order
	nonsense bool        // the driver broke its promise: one answer to each request

	won, failed, lost, finished int
	taken, relinquished         bool
	prolongs, answers           int
}

type sentRequest struct {
	node     int
	at       Instant
	req      Request
	answered bool
}

// grantTold is what a node's yes is worth.
type grantTold struct {
	node    int
	request uint32
	until   Instant
}

func newFuzzed(t *testing.T, nodes int, options uint8) *fuzzed {
	z := &fuzzed{t: t, now: storyStart, cfg: storyConfig(nodes)}
	z.cfg.MaxTTL, z.cfg.NodeTimeout, z.cfg.MinValidity = 10*fuzzTTL, 40*time.Millisecond, fuzzTTL/4
	z.cfg.NoRenew = options&1 != 0
	if options&2 != 0 {
		z.cfg.MaxHold = 3 * fuzzTTL
	}
	if options&4 != 0 {
		z.cfg.Quorum = nodes
	}
	z.machine = New(&z.cfg)
	z.step(Input{Kind: Start, TTL: fuzzTTL, Hint: uint64(options)})
	return z
}

func (z *fuzzed) fail(format string, args ...any) {
	z.t.Helper()
	for _, in := range z.inputs {
		z.t.Log(in)
	}
	z.t.Fatalf(format, args...)
}

// answer answers the latest request of a node, or the oldest, if there is one.
func (z *fuzzed) answer(node int, oldest bool, v Vote) {
	found := -1
	for i, s := range z.sent {
		if s.node == node && !s.answered && (found < 0 || !oldest) {
			found = i
		}
	}
	if found < 0 {
		return
	}
	s := &z.sent[found]
	s.answered = true
	if v.Outcome == Granted && (s.req.Op == Acquire || s.req.Op == Extend) {
		// The grant began when the request was sent, at the earliest: of that
		// the margin is taken, a hundredth and two milliseconds.
		z.told = append(z.told, grantTold{node, s.req.ID, s.at.Add(s.req.TTL - (s.req.TTL+99)/100 - 2*time.Millisecond)})
	}
	z.step(Input{Kind: Voted, Node: node, Op: s.req.Op, Request: s.req.ID, Sent: s.at, TTL: s.req.TTL, Fence: s.req.Fence, Vote: v})
}

func (z *fuzzed) take() {
	if !z.taken {
		z.taken = true
		z.step(Input{Kind: Take})
	}
}

// tick follows the timer, if there is one.
func (z *fuzzed) tick() {
	if z.timer != 0 {
		z.now = max(z.now, z.timer)
		z.step(Input{Kind: Tick})
	}
}

func (z *fuzzed) step(in Input) {
	z.t.Helper()
	z.inputs = append(z.inputs, fmt.Sprintf("%v: %+v", z.now.Sub(storyStart), in))
	wasFinished := z.finished > 0
	if in.Kind == Prolong {
		z.prolongs++
	}
	if in.Kind == Relinquish || in.Kind == Drain {
		defer func() { z.relinquished = true }()
	}
	twin := z.machine.Clone()
	if again, out := twin.Step(z.now, in, nil), z.machine.Step(z.now, in, nil); fmt.Sprint(again) != fmt.Sprint(out) {
		z.fail("a clone does something else: %v, not %v", again, out)
	} else {
		for _, o := range out {
			z.output(o, wasFinished)
		}
	}
	if z.machine.Held() && z.machine.Until() <= z.now {
		z.fail("held beyond its validity")
	}
}

func (z *fuzzed) output(o Output, wasFinished bool) {
	z.t.Helper()
	switch o.Kind {
	case Send:
		if wasFinished {
			z.fail("a request after the end")
		}
		z.sent = append(z.sent, sentRequest{node: o.Node, at: z.now, req: o.Request})
	case SetTimer:
		z.timer = o.At
	case Won:
		z.won++
		z.believed(o.Until)
	case Renewed:
		z.believed(o.Until)
	case Failed:
		z.failed++
	case Lost:
		z.lost++
	case Prolonged, NotProlonged:
		z.answers++
	case Finished:
		z.finished++
	}
	switch {
	case z.won > 1, z.failed > 1, z.lost > 1, z.finished > 1:
		z.fail("told twice: won %d, failed %d, lost %d, finished %d", z.won, z.failed, z.lost, z.finished)
	case z.lost > 0 && z.won == 0, z.lost > 0 && z.failed > 0:
		z.fail("lost what was not held")
	case z.answers > z.prolongs:
		z.fail("%d answers to %d Prolongs", z.answers, z.prolongs)
	}
}

// believed: a majority of different nodes must have said yes for so long.
func (z *fuzzed) believed(until Instant) {
	z.t.Helper()
	if z.nonsense {
		return
	}
	vouched := map[int]bool{}
	for _, g := range z.told {
		if g.until >= until {
			vouched[g.node] = true
		}
	}
	if len(vouched) < z.cfg.Quorum {
		z.fail("valid until %v, but %d nodes vouch for it", until.Sub(storyStart), len(vouched))
	}
	if z.cfg.MaxHold > 0 && until > storyStart.Add(z.cfg.MaxHold) {
		z.fail("valid beyond MaxHold")
	}
}

// finish unlocks, follows the timers, and answers everything.
func (z *fuzzed) finish() {
	z.t.Helper()
	z.step(Input{Kind: Relinquish})
	z.followTimers()
	for i := 0; i < len(z.sent); i++ {
		if s := z.sent[i]; !s.answered {
			z.answer(s.node, true, Vote{Outcome: Unknown})
			z.followTimers()
		}
	}
	if z.nonsense {
		return
	}
	if z.finished != 1 {
		z.fail("nothing is due, but it has not finished")
	}
	if z.won+z.failed == 0 && len(z.told) > 0 && !z.relinquished {
		z.fail("no verdict")
	}
	if z.prolongs > 0 && z.answers == 0 { // a newer Prolong takes the place of an older
		z.fail("a Prolong was not answered")
	}
}

// followTimers ends, because there are few retries, and none is at once.
func (z *fuzzed) followTimers() {
	z.t.Helper()
	for ticks := 0; z.timer != 0; ticks++ {
		if ticks > 100 {
			z.fail("the timer goes on for ever: it is at %v", z.timer.Sub(storyStart))
		}
		z.tick()
	}
}
