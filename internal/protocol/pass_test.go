package protocol

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// passing is an attempt on three nodes in memory, all of which answer at once.
type passing struct {
	Attempt
	t        *testing.T
	now      Instant
	top      uint64
	confirms []uint64
}

func newPassing(t *testing.T, cfg *Config, fences ...uint64) *passing {
	p := &passing{Attempt: New(cfg), t: t, now: Instant(time.Hour)}
	p.top = slices.Max(fences) + 2
	p.answer(p.Step(p.now, Input{Kind: Start, TTL: 10 * time.Second, Hint: 1, Spare: 2}, nil), fences)
	p.Step(p.now, Input{Kind: Take}, nil)
	require.True(t, p.Held())
	return p
}

// answer grants whatever is asked.
func (p *passing) answer(outs []Output, fences []uint64) {
	for len(outs) > 0 {
		out := outs[0]
		outs = outs[1:]
		if out.Kind != Send {
			continue
		}
		in := Input{Kind: Voted, Node: out.Node, Request: out.Request.ID, Op: out.Request.Op, Vote: Vote{Outcome: Granted}}
		switch out.Request.Op {
		case Acquire:
			in.Vote.Fence = fences[out.Node]
		case Confirm:
			p.confirms = append(p.confirms, out.Request.Token)
		}
		outs = append(outs, p.Step(p.now, in, nil)...)
	}
}

func (p *passing) pass() Output {
	for _, out := range p.Step(p.now, Input{Kind: Pass}, nil) {
		if out.Kind == Passed || out.Kind == NotPassed {
			p.Step(p.now, Input{Kind: Take}, nil)
			return out
		}
	}
	p.t.Fatal("no verdict")
	return Output{}
}

func passConfig() *Config {
	return &Config{Nodes: 3, Quorum: 2, NodeTimeout: 100 * time.Millisecond, MaxTTL: 10 * time.Second, MinValidity: 5 * time.Second, NoRenew: true}
}

func TestEachUserOfALeaseHasATokenOfItsOwn(t *testing.T) {
	for name, fences := range map[string][]uint64{"equal fences": {9, 9, 9}, "confirmed": {7, 9, 8}} {
		t.Run(name, func(t *testing.T) {
			p := newPassing(t, passConfig(), fences...)
			assert.Equal(t, []uint64{p.top, p.top, p.top}, p.confirms, "the last token is stored before any is used")
			for _, token := range []uint64{10, 11} {
				out := p.pass()
				assert.Equal(t, Passed, out.Kind)
				assert.Equal(t, token, out.Token)
				assert.Equal(t, p.Until(), out.Until)
			}
			assert.Equal(t, NotPassed, p.pass().Kind, "no token is left")
			assert.True(t, p.Held(), "it is the driver's to give it up")
		})
	}
}

func TestALeaseIsNotPassedOnPastItsFirstValidity(t *testing.T) {
	cfg := passConfig()
	cfg.MinValidity = 9 * time.Second
	p := &passing{Attempt: New(cfg), t: t, now: Instant(time.Hour)}
	asked := p.Step(p.now, Input{Kind: Start, TTL: 10 * time.Second, Hint: 1, Spare: 2}, nil)
	p.now = p.now.Add(90 * time.Millisecond) // it is far to the nodes, so turns are long
	p.answer(asked, []uint64{9, 9, 9})
	p.Step(p.now, Input{Kind: Take}, nil)
	require.True(t, p.Held())
	first := p.Until()
	p.now = p.now.Add(500 * time.Millisecond)
	p.answer(p.Step(p.now, Input{Kind: Prolong, TTL: 10 * time.Second}, nil), nil)
	require.Greater(t, p.Until(), first)
	p.now = first.Add(-cfg.MinValidity)
	assert.Equal(t, Passed, p.pass().Kind)
	p.now++
	assert.Equal(t, NotPassed, p.pass().Kind)
}

// Who extends a lease while somebody else unlocks it has not lost it.
func TestPassingALeaseOnCancelsItsExtension(t *testing.T) {
	p := newPassing(t, passConfig(), 9, 9, 9)
	p.now = p.now.Add(50 * time.Millisecond)
	p.Step(p.now, Input{Kind: Prolong, TTL: 10 * time.Second}, nil)
	outs := p.Step(p.now, Input{Kind: Pass}, nil)
	require.Equal(t, NotProlonged, outs[0].Kind)
	assert.Equal(t, Cancelled, outs[0].Reason)
	assert.Equal(t, Passed, outs[1].Kind)
}

// However short the sections are, and however long the lease, others have their turn.
func TestAProcessHasALeaseForATurnOnly(t *testing.T) {
	p := newPassing(t, passConfig(), 9, 9, 9)
	p.now = p.now.Add(turn)
	assert.Equal(t, Passed, p.pass().Kind)
	p.now++
	assert.Equal(t, NotPassed, p.pass().Kind)
}

func TestALeasePassedTooLateIsNotHandedOver(t *testing.T) {
	p := newPassing(t, passConfig(), 9, 9, 9)
	outs := p.Step(p.now, Input{Kind: Pass}, nil)
	require.Equal(t, Passed, outs[0].Kind)
	p.now = p.Until().Add(-1)
	outs = p.Step(p.now, Input{Kind: Take}, nil)
	assert.Equal(t, Failed, outs[0].Kind)
	assert.Equal(t, TooSlow, outs[0].Failure.Reason)
}

func TestMaxHoldCountsAnewForEachUser(t *testing.T) {
	cfg := passConfig()
	cfg.MaxHold = 8 * time.Second
	p := newPassing(t, cfg, 9, 9, 9)
	p.now = p.now.Add(turn)
	require.Equal(t, Passed, p.pass().Kind)
	p.Step(p.now, Input{Kind: Tick}, nil)
	assert.Greater(t, p.Until(), p.started.Add(cfg.MaxHold))
}

// MaxHold ends the renewals of one user. The next one's lease is renewed as if there
// had been no end.
func TestALeasePassedOnIsRenewed(t *testing.T) {
	// It is far to the nodes, so that a turn is long.
	const held = `
		0s     start 7 2     -> acquire 0,1,2 from 7
		20ms   0-2 granted 7 -> confirm 0,1,2 7 to 9
	`
	cfg := storyConfig(3)
	t.Run("after the last renewal reached MaxHold, on the schedule", func(t *testing.T) {
		cfg := cfg
		cfg.MaxHold = 1300 * time.Millisecond
		tellWith(t, cfg, storyTTL, held+`
			40ms   0-2 granted   -> won 7 until 1.186s
			41ms   take          ->
			400ms  tick          -> extend 0,1,2 of 7
			401ms  0-2 granted   -> valid until 1.3s
			600ms  pass          -> passed 8 until 1.586s
			601ms  take          ->
			800ms  tick          -> extend 0,1,2 of 7
			801ms  0-2 granted   -> valid until 1.9s
			1900ms tick          -> lost: held for the longest time allowed; release 0,1,2
		`)
	})
	t.Run("which passed meanwhile", func(t *testing.T) {
		cfg := cfg
		cfg.MaxHold = 1100 * time.Millisecond
		tellWith(t, cfg, storyTTL, held+`
			40ms   0-2 granted   -> won 7 until 1.1s
			41ms   take          ->
			500ms  pass          -> passed 8 until 1.186s; extend 0,1,2 of 7
			501ms  take          ->
			501ms  0-2 granted   -> valid until 1.6s
			1600ms tick          -> lost: held for the longest time allowed; release 0,1,2
		`)
	})
	t.Run("unless none was asked for", func(t *testing.T) {
		cfg := cfg
		cfg.MaxHold, cfg.NoRenew = 1100*time.Millisecond, true
		tellWith(t, cfg, storyTTL, held+`
			40ms   0-2 granted   -> won 7 until 1.1s
			41ms   take          ->
			500ms  pass          -> passed 8 until 1.186s
			501ms  take          ->
			1186ms tick          -> lost: not renewed in time; release 0,1,2
		`)
	})
}

// A token above the first is nobody's before a majority has stored the last one.
func TestALeaseWithTokensToSpareIsNotWonBeforeTheyAreStored(t *testing.T) {
	a := New(passConfig())
	now := Instant(time.Hour)
	queue := a.Step(now, Input{Kind: Start, TTL: 10 * time.Second, Hint: 1, Spare: 2}, nil)
	confirmed := 0
	for len(queue) > 0 {
		out := queue[0]
		queue = queue[1:]
		if out.Kind != Send {
			continue
		}
		assert.Equal(t, confirmed >= 2, a.Held())
		in := Input{Kind: Voted, Node: out.Node, Request: out.Request.ID, Op: out.Request.Op, Vote: Vote{Outcome: Granted}}
		if out.Request.Op == Acquire {
			in.Vote.Fence = 9
		} else {
			confirmed++
		}
		queue = append(queue, a.Step(now, in, nil)...)
	}
	assert.Equal(t, 3, confirmed)
}

// Counters that are lost come back from clocks, which nobody may outrun by much.
func TestTokensToSpareAreBounded(t *testing.T) {
	tell(t, 1, `
		0s   start 7 9000000 -> acquire 0 from 7
		1ms  0 granted 7     -> confirm 0 7 to 4103
	`)
}

func TestAProcessPausesOnlyAfterItPassedALeaseOn(t *testing.T) {
	cfg := passConfig()
	cfg.RetryMax = 250 * time.Millisecond
	p := newPassing(t, cfg, 9, 9, 9)
	after := func(d time.Duration) Instant { return p.started.Add(d) }
	assert.Zero(t, p.Pause(after(time.Second)))
	require.Equal(t, Passed, p.pass().Kind)
	assert.Equal(t, 10*time.Millisecond, p.Pause(after(40*time.Millisecond)), "a share of the time")
	assert.Equal(t, 125*time.Millisecond, p.Pause(after(time.Second)), "long enough for most to ask")
	cfg.Queues = 1
	assert.NotZero(t, p.Pause(after(time.Second)), "too few nodes call waiters")
	cfg.Queues = 2
	assert.Zero(t, p.Pause(after(time.Second)), "waiters are called")
}

// Where a counter is far ahead of the clock, leases do not take it further.
func TestNoTokensToSpareAheadOfTheClock(t *testing.T) {
	cfg := passConfig()
	ahead := uint64(2_500_000) // a quarter of MaxTTL, and the hint is 1
	for fence, kind := range map[uint64]OutputKind{1 + ahead: Passed, 2 + ahead: NotPassed} {
		p := newPassing(t, cfg, fence, fence, fence)
		assert.Equal(t, kind, p.pass().Kind)
	}
	w := Waiter{Config: cfg}
	w.Next(storyStart, Failure{Reason: Contended, Counter: 7 + ahead}, 0)
	assert.EqualValues(t, 5, w.Spare(7, 5))
	assert.Zero(t, w.Spare(6, 5))
}
