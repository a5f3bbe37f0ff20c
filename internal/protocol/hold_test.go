package protocol

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Renewals that follow each other's answers would drift apart from the TTL; and
// one that waits for all nodes would wait for the slowest.
func TestRenewalKeepsToAnAbsoluteSchedule(t *testing.T) {
	tell(t, 3, heldByThree+`
		400ms  tick          -> extend 0,1,2 of 7
		401ms  0 granted     ->
		440ms  1 granted     -> valid until 1.586s
		450ms  2 granted     ->
		800ms  tick          -> extend 0,1,2 of 7
		801ms  1,2 granted   -> valid until 1.986s
		802ms  0 granted     ->
		1200ms tick          -> extend 0,1,2 of 7
	`)
	t.Run("a late tick skips what is past", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			900ms  tick         -> extend 0,1,2 of 7
			901ms  all granted  -> valid until 2.086s
			1200ms tick         -> extend 0,1,2 of 7
		`)
	})
	t.Run("a round that took longer than that is followed by one at once", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NodeTimeout = 600 * time.Millisecond
		tellWith(t, cfg, storyTTL, `
			0s     start         -> acquire 0,1,2
			500ms  0,1 granted 7 -> won 7 until 1.186s
			500ms  tick          -> extend 0,1 of 7; acquire 2 from 8
		`)
	})
	t.Run("NoRenew has none", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NoRenew = true
		tellWith(t, cfg, storyTTL, heldByThree+`
			1186ms tick -> lost: not renewed in time; release 0,1,2
		`)
	})
}

// A lost reply is not a lost lock: there is time for several more tries.
func TestRenewalIsTriedAgainWithinValidity(t *testing.T) {
	t.Run("one node's reply is lost: nothing happens", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick          -> extend 0,1,2 of 7
			401ms  0 unknown     ->
			402ms  1,2 granted   -> valid until 1.586s
			800ms  tick          -> extend 0,1,2 of 7
		`)
	})
	t.Run("a majority's are: it is tried again, then back to the schedule", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick               -> extend 0,1,2 of 7
			401ms  0 granted          ->
			402ms  1,2 unknown        ->
			500ms  tick               -> extend 0,1,2 of 7
			501ms  1 granted          -> valid until 1.586s
			502ms  2 granted          -> valid until 1.686s
			503ms  0 granted          ->
			800ms  tick               -> extend 0,1,2 of 7
		`)
	})
	t.Run("until the validity is over", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick -> extend 0,1,2 of 7
			500ms  tick -> extend 0,1,2 of 7
			600ms  tick -> extend 0,1,2 of 7
			700ms  tick -> extend 0,1,2 of 7
			800ms  tick -> extend 0,1,2 of 7
			900ms  tick -> extend 0,1,2 of 7
			1000ms tick -> extend 0,1,2 of 7
			1100ms tick -> extend 0,1,2 of 7
			1186ms tick -> lost: not renewed in time; release 0,1,2
		`)
	})
}

// The timer ends the lease, not the network: at the very instant, also when the
// answer that would have saved it comes in the same step.
func TestLossIsAtTheEndOfValidity(t *testing.T) {
	const renewing = `
		400ms  tick               -> extend 0,1,2 of 7
		500ms  tick               -> extend 0,1,2 of 7
		600ms  tick               -> extend 0,1,2 of 7
		700ms  tick               -> extend 0,1,2 of 7
		800ms  tick               -> extend 0,1,2 of 7
		900ms  tick               -> extend 0,1,2 of 7
		1000ms tick               -> extend 0,1,2 of 7
		1100ms tick               -> extend 0,1,2 of 7
		1185ms 0 extend granted   ->
	`
	t.Run("just in time", func(t *testing.T) {
		tell(t, 3, heldByThree+renewing+`
			1185ms        0 granted ->
			1185.999999ms 1 granted -> valid until 2.286s
		`)
	})
	t.Run("just too late: a lease is never resurrected", func(t *testing.T) {
		tell(t, 3, heldByThree+renewing+`
			1185ms      0 granted ->
			1186ms late 1 granted -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("nor by healing with new grants", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick                      -> extend 0,1,2 of 7
			401ms  0 refused                 -> acquire 0 from 8
			5s late 0 granted 9              -> lost: not renewed in time; release 0,1,2
		`)
	})
}

// A grant that is gone, of an operator's hand or a lost restart, is asked for
// anew at once where the lease still has a majority.
func TestAGrantThatIsGone(t *testing.T) {
	t.Run("at a minority: the node rejoins in the same round", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick         -> extend 0,1,2 of 7
			401ms  0,1 granted  -> valid until 1.586s
			402ms  2 refused    -> acquire 2 from 8
			403ms  2 granted 8  ->
			800ms  tick         -> extend 0,1 of 7; extend 2 of 8
		`)
	})
	t.Run("at a majority: lost at once, without waiting for the timer", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick         -> extend 0,1,2 of 7
			401ms  0 refused    -> acquire 0 from 8
			402ms  1 refused    -> lost: too few nodes still have the grant; release 0,2
		`)
	})
	t.Run("a majority is left, but of older grants: validity shrinks to theirs", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick         -> extend 0,1,2 of 7
			401ms  0,1 granted  -> valid until 1.586s
			402ms  2 unknown    ->
			800ms  tick         -> extend 0,1,2 of 7
			801ms  0 refused    -> valid until 1.186s; acquire 0 from 8
			802ms  1,2 granted  -> valid until 1.986s
		`)
	})
	t.Run("what the old grants leave is over already", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick         -> extend 0,1,2 of 7
			401ms  0,1 granted  -> valid until 1.586s
			402ms  2 unknown    ->
			800ms  tick         -> extend 0,1,2 of 7
			801ms  0,1 granted  -> valid until 1.986s
			802ms  2 unknown    ->
			1200ms tick         -> extend 0,1,2 of 7
			1201ms 0 refused    -> lost: too few nodes still have the grant; release 1,2
		`)
	})
	t.Run("a node barred since counts as gone, but is released", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			400ms  tick         -> extend 0,1,2 of 7
			401ms  0 barred 9s  ->
			402ms  1,2 granted  -> valid until 1.586s
			800ms  tick         -> acquire 0 from 8; extend 1,2 of 7
			801ms  0 barred 9s  ->
			802ms  unlock       -> release 0,1,2
			803ms  1,2 granted  -> released
			804ms  1 extend unknown ->
			804ms  2 extend unknown ->
			805ms  0 granted    -> finished
		`)
	})
	t.Run("a lease that nobody took was not acquired", func(t *testing.T) {
		tell(t, 3, `
			0s     start         -> acquire 0,1,2
			1ms    0-2 granted 7 -> won 7 until 1.186s
			400ms  tick          -> extend 0,1,2 of 7
			401ms  0 refused     -> acquire 0 from 8
			402ms  1 refused     -> failed: the votes came too late; release 0,2
		`)
	})
}

// A node that was away for long makes the lease stand one more failure, if it is
// asked again.
func TestRenewalHeals(t *testing.T) {
	tell(t, 3, `
		0s     start             -> acquire 0,1,2
		1ms    0,1 granted 7     -> won 7 until 1.186s
		2ms    take              ->
		100ms  tick              -> acquire 2 from 8
		200ms  tick              -> acquire 2 from 8
		300ms  tick              ->
		400ms  tick              -> extend 0,1 of 7; acquire 2 from 8
		401ms  2 granted 8       ->
		402ms  0 granted         -> valid until 1.586s
		403ms  1 refused         -> acquire 1 from 9
		404ms  1 refused 1s      ->
		800ms  tick              -> extend 0 of 7; acquire 1 from 9; extend 2 of 8
	`)
	t.Run("a straggler of the first round counts when it comes", func(t *testing.T) {
		tell(t, 3, `
			0s     start             -> acquire 0,1,2
			1ms    0,1 granted 7     -> won 7 until 1.186s
			2ms    take              ->
			50ms   2 granted 7       ->
			400ms  tick              -> extend 0,1,2 of 7
			401ms  0 refused         -> acquire 0 from 8
			402ms  1 granted         ->
			403ms  2 granted         -> valid until 1.586s
		`)
	})
}

// MaxHold bounds what a forgotten lease can do, renewed or not.
func TestMaxHold(t *testing.T) {
	cfg := storyConfig(3)
	cfg.MaxHold = 1500 * time.Millisecond
	t.Run("renewals reach up to it and end", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			400ms  tick        -> extend 0,1,2 of 7
			401ms  all granted -> valid until 1.5s
			1500ms tick        -> lost: held for the longest time allowed; release 0,1,2
		`)
	})
	t.Run("it counts from the start of the acquisition", func(t *testing.T) {
		short := cfg
		short.MaxHold = 700 * time.Millisecond
		tellWith(t, short, storyTTL, `
			0s     start         -> acquire 0,1,2
			90ms   0-2 granted 7 -> won 7 until 700ms
			91ms   take          ->
			700ms  tick          -> lost: held for the longest time allowed; release 0,1,2
		`)
	})
	t.Run("a Prolong beyond it is refused, and changes nothing", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s  -> not prolonged: held for the longest time allowed
			20ms   prolong 1300ms -> extend 0,1,2 of 7 for 1.3s
			21ms   all granted -> valid until 1.305s; prolonged
		`)
	})
}

// Prolong is the user's: it must tell the truth, and must not make it worse.
func TestProlong(t *testing.T) {
	cfg := storyConfig(3)
	cfg.NoRenew = true
	t.Run("told as soon as a majority agreed", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   0 granted     ->
			12ms   2 granted     -> valid until 2.978s; prolonged
			13ms   1 unknown     ->
			2978ms tick          -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("never shortens: what lasts so long already is left alone", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 1s    -> prolonged
		`)
	})
	t.Run("a failure leaves the old validity", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   0 granted     ->
			12ms   1 unknown     ->
			110ms  tick          -> not prolonged: too many nodes failed
			1186ms tick          -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("told as soon as it is impossible", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   0 unknown     ->
			12ms   1 unknown     -> not prolonged: too many nodes failed
		`)
	})
	t.Run("a node that lost the grant can help", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   0 unknown     ->
			12ms   1 refused     -> acquire 1 from 8 for 3s
			13ms   2 granted     ->
			14ms   1 granted 8   -> valid until 2.978s; prolonged
		`)
	})
	t.Run("the lease ends meanwhile", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			1150ms prolong 3s    -> extend 0,1,2 of 7 for 3s
			1186ms tick          -> lost: not renewed in time; not prolonged: not held; release 0,1,2
		`)
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   unlock        -> not prolonged: not held; release 0,1,2
		`)
	})
	t.Run("or has ended", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, heldByThree+`
			10ms   unlock        -> release 0,1,2
			11ms   prolong 3s    -> not prolonged: not held
		`)
		tellWith(t, cfg, storyTTL, `
			0s     prolong 3s    -> not prolonged: not held
		`)
	})
	t.Run("renewals go on as before, and leave the longer validity", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			10ms   prolong 3s    -> extend 0,1,2 of 7 for 3s
			11ms   all granted   -> valid until 2.978s; prolonged
			400ms  tick          -> extend 0,1,2 of 7
			401ms  all granted   ->
			800ms  tick          -> extend 0,1,2 of 7
		`)
	})
}

// A renewal that falls due while an extension of the user's is under way would
// take the place of its requests, and the extension would fail although every
// node agreed.
func TestRenewalWaitsForAnExtension(t *testing.T) {
	tell(t, 3, heldByThree+`
		399ms  prolong 3s     -> extend 0,1,2 of 7 for 3s
		401ms  0-2 granted    -> valid until 3.367s; prolonged; extend 0,1,2 of 7
	`)
}

// Callers who extend again and again and give up before the nodes answer must not
// keep the lease from being prolonged, as each asks in the place of the one before.
func TestExtensionsFasterThanARoundTrip(t *testing.T) {
	cfg := storyConfig(3)
	const trip, every = 80 * time.Millisecond, 30 * time.Millisecond
	a := New(&cfg)
	now := storyStart
	type answer struct {
		at Instant
		in Input
	}
	var answers []answer
	step := func(in Input) {
		for _, out := range a.Step(now, in, nil) {
			if req := out.Request; out.Kind == Send {
				answers = append(answers, answer{now.Add(trip), Input{Kind: Voted, Node: out.Node, Request: req.ID, Op: req.Op,
					Sent: now, TTL: req.TTL, Fence: req.Fence, Vote: Vote{Outcome: Granted, Fence: 7}}})
			}
		}
	}
	step(Input{Kind: Start, TTL: storyTTL})
	for now < storyStart.Add(5*storyTTL) {
		now = now.Add(time.Millisecond)
		for len(answers) > 0 && answers[0].at <= now {
			in := answers[0].in
			answers = answers[1:]
			step(in)
		}
		step(Input{Kind: Take})
		if a.Held() && now.Sub(storyStart)%every == 0 {
			step(Input{Kind: Prolong, TTL: storyTTL})
		}
	}
	require.True(t, a.Held())
	require.Greater(t, a.Until(), now.Add(storyTTL/2))
}
