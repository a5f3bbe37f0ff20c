package protocol

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heldByTwo is a lease on a bare quorum of three, whose third node has answered.
const heldByTwo = `
	0s     start             -> acquire 0,1,2
	1ms    0,1 granted 7     -> won 7 until 1.186s
	2ms    take              ->
	3ms    2 refused 10ms    ->
`

// A lease on a bare quorum is gone with any one grant. It need not stay so until
// its first renewal.
func TestALeaseOnABareQuorumHealsSoon(t *testing.T) {
	tell(t, 3, heldByTwo+`
		25ms   tick              -> acquire 2 from 8
		26ms   2 granted 8       ->
		400ms  tick              -> extend 0,1 of 7; extend 2 of 8
		401ms  0 refused         -> acquire 0 from 9
		402ms  1,2 granted       -> valid until 1.211s; valid until 1.586s
	`)
	t.Run("a node that refuses is asked again later, until the renewal", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			25ms   tick          -> acquire 2 from 8
			26ms   2 refused     ->
			50ms   tick          -> acquire 2 from 8
			51ms   2 barred 9s   ->
			100ms  tick          -> acquire 2 from 8
			101ms  2 unknown     ->
			200ms  tick          -> acquire 2 from 8
			201ms  2 refused     ->
			400ms  tick          -> extend 0,1 of 7; acquire 2 from 8
			401ms  0,1 granted   -> valid until 1.586s
			402ms  2 refused     ->
			800ms  tick          -> extend 0,1 of 7; acquire 2 from 8
		`)
	})
	t.Run("one that does not answer is asked again once that is not waited for", func(t *testing.T) {
		tell(t, 3, `
			0s     start         -> acquire 0,1,2
			1ms    0,1 granted 7 -> won 7 until 1.186s
			2ms    take          ->
			100ms  tick          -> acquire 2 from 8
			200ms  tick          -> acquire 2 from 8
			300ms  tick          ->
			400ms  tick          -> extend 0,1 of 7; acquire 2 from 8
		`)
	})
	t.Run("all that have no grant are asked, until there is one to spare", func(t *testing.T) {
		tell(t, 5, `
			0s     start         -> acquire 0,1,2,3,4
			1ms    1,3 unknown   ->
			1ms    0,2,4 granted 7 -> won 7 until 1.186s
			2ms    take          ->
			25ms   tick          -> acquire 1,3 from 8
			26ms   1,3 unknown   ->
			50ms   tick          -> acquire 1,3 from 8
			51ms   1 unknown     ->
			52ms   3 granted 8   ->
			400ms  tick          -> extend 0 of 7; acquire 1 from 9; extend 2 of 7; extend 3 of 8; extend 4 of 7
		`)
	})
	t.Run("not with one to spare", func(t *testing.T) {
		tell(t, 5, `
			0s     start         -> acquire 0,1,2,3,4
			1ms    0-2 granted 7 -> won 7 until 1.186s
			2ms    take          ->
			3ms    3 refused     ->
			4ms    4 granted 7   ->
			400ms  tick          -> extend 0,1,2 of 7; acquire 3 from 8; extend 4 of 7
		`)
	})
	t.Run("a quorum larger than a majority may be bare too", func(t *testing.T) {
		cfg := storyConfig(5)
		cfg.Quorum = 4
		tellWith(t, cfg, storyTTL, `
			0s     start         -> acquire 0,1,2,3,4
			1ms    0 refused     ->
			1ms    1-4 granted 7 -> won 7 until 1.186s
			25ms   tick          -> acquire 0 from 8
		`)
	})
	t.Run("a late tick asks once", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			120ms  tick          -> acquire 2 from 8
			121ms  2 refused     ->
			240ms  tick          -> acquire 2 from 8
			241ms  2 refused     ->
			400ms  tick          -> extend 0,1 of 7; acquire 2 from 8
		`)
		tell(t, 3, heldByTwo+`
			400ms  tick          -> extend 0,1 of 7; acquire 2 from 8
		`)
	})
	t.Run("one that was won late asks at once", func(t *testing.T) {
		tell(t, 3, `
			0s     start         -> acquire 0,1,2
			40ms   0 granted 7   ->
			41ms   2 refused     ->
			42ms   1 granted 9   -> confirm 0 7 to 9
			80ms   0 granted     -> won 9 until 1.186s
			80ms   tick          -> acquire 2 from 10
			121ms  2 granted 10  ->
			400ms  tick          -> extend 0 of 7; extend 1 of 9; extend 2 of 10
		`)
	})
	t.Run("NoRenew has none", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NoRenew = true
		tellWith(t, cfg, storyTTL, heldByTwo+`
			1186ms tick          -> lost: not renewed in time; release 0,1
		`)
	})
}

// A grant more changes nothing about how long a quorum has the lease, nor that it
// is over then.
func TestHealingNeitherShortensNorResurrects(t *testing.T) {
	const healing = heldByTwo + `
		25ms   tick             -> acquire 2 from 8
	`
	t.Run("granted at the end", func(t *testing.T) {
		tell(t, 3, healing+`
			1185ms late 2 granted 8 -> extend 0,1 of 7; extend 2 of 8
			1186ms tick             -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("granted too late", func(t *testing.T) {
		tell(t, 3, healing+`
			1186ms late 2 granted 8 -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("due too late", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			1186ms tick             -> lost: not renewed in time; release 0,1
		`)
	})
	t.Run("granted after the lease was given up", func(t *testing.T) {
		tell(t, 3, healing+`
			26ms   unlock           -> release 0,1,2
			27ms   0,1 granted      -> released
			28ms   2 acquire granted 8 ->
			29ms   2 granted        -> finished
		`)
	})
	t.Run("an extension lasts as long as it was granted", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			10ms   prolong 3s       -> extend 0,1 of 7 for 3s; acquire 2 from 8 for 3s
			11ms   2 refused        ->
			12ms   0,1 granted      -> valid until 2.978s; prolonged
			25ms   tick             -> acquire 2 from 8
			26ms   2 granted 8      ->
			400ms  tick             -> extend 0,1 of 7; extend 2 of 8
		`)
	})
}

// The user's extension has asked all nodes, and shall hear soon if they are too few.
func TestHealingWaitsForAnExtension(t *testing.T) {
	tell(t, 3, heldByTwo+`
		20ms   prolong 3s       -> extend 0,1 of 7 for 3s; acquire 2 from 8 for 3s
		21ms   2 refused        ->
		60ms   0 granted        ->
		61ms   1 unknown        -> not prolonged: too many nodes failed
		61ms   tick             -> acquire 2 from 8
	`)
}

// MaxHold keeps a lease from growing longer, not from standing on one node more.
func TestHealingUnderMaxHold(t *testing.T) {
	cfg := storyConfig(3)
	cfg.MaxHold = 700 * time.Millisecond
	tellWith(t, cfg, storyTTL, `
		0s     start         -> acquire 0,1,2
		1ms    0,1 granted 7 -> won 7 until 700ms
		2ms    take          ->
		3ms    2 refused     ->
		25ms   tick          -> acquire 2 from 8
		26ms   2 refused     ->
		50ms   tick          -> acquire 2 from 8
		51ms   2 refused     ->
		100ms  tick          -> acquire 2 from 8
		101ms  2 refused     ->
		200ms  tick          -> acquire 2 from 8
		201ms  2 refused     ->
		700ms  tick          -> lost: held for the longest time allowed; release 0,1
	`)
	t.Run("granted", func(t *testing.T) {
		tellWith(t, cfg, storyTTL, `
			0s     start         -> acquire 0,1,2
			1ms    2 refused     ->
			1ms    0,1 granted 7 -> won 7 until 700ms
			2ms    take          ->
			25ms   tick          -> acquire 2 from 8
			26ms   2 granted 8   ->
			700ms  tick          -> lost: held for the longest time allowed; release 0,1,2
		`)
	})
}

// The next user's lease heals as the first one's would have, and a node that joins
// it learns all tokens that it may have.
func TestALeasePassedOnHeals(t *testing.T) {
	tell(t, 3, `
		0s     start 7 2         -> acquire 0,1,2 from 7
		1ms    2 refused         ->
		2ms    0,1 granted 7     -> confirm 0,1 7 to 9
		4ms    0,1 granted       -> won 7 until 1.186s
		5ms    take              ->
		24ms   pass              -> passed 8 until 1.186s
		25ms   tick              -> acquire 2 from 9
		26ms   2 refused         ->
		27ms   take              ->
		30ms   pass              -> passed 9 until 1.186s
		31ms   take              ->
		50ms   tick              -> acquire 2 from 9
		51ms   2 granted 10      ->
		400ms  tick              -> extend 0,1 of 7; extend 2 of 10
	`)
}

// Most locks are given back before they could heal. They set their timer as often as
// if they never did.
func TestLocksThatNeedNotHealSetNoTimerForIt(t *testing.T) {
	cfg := storyConfig(5)
	for name, c := range map[string]struct {
		outcomes [5]Outcome
		timers   []time.Duration
	}{
		"all grant":       {[5]Outcome{Granted, Granted, Granted, Granted, Granted}, []time.Duration{100, 400}},
		"one is late":     {[5]Outcome{Granted, Granted, Granted, Granted, Pending}, []time.Duration{100}},
		"two are late":    {[5]Outcome{Granted, Granted, Granted, Pending, Pending}, []time.Duration{100}},
		"one is away":     {[5]Outcome{Unknown, Granted, Granted, Granted, Granted}, []time.Duration{100, 400}},
		"two are away":    {[5]Outcome{Unknown, Unknown, Granted, Granted, Granted}, []time.Duration{100, 25}},
		"won by the last": {[5]Outcome{Refused, Granted, Granted, Unknown, Granted}, []time.Duration{100, 25}},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(&cfg)
			now := storyStart
			var timers []time.Duration
			step := func(in Input) {
				for _, out := range a.Step(now, in, nil) {
					if out.Kind == SetTimer {
						timers = append(timers, out.At.Sub(storyStart)/time.Millisecond)
					}
				}
				now = now.Add(time.Millisecond)
			}
			step(Input{Kind: Start, TTL: storyTTL})
			for node, outcome := range c.outcomes {
				if outcome != Pending {
					step(Input{Kind: Voted, Node: node, Op: Acquire, Request: uint32(node + 1), Vote: Vote{Outcome: outcome, Fence: 7}})
				}
			}
			step(Input{Kind: Take})
			require.True(t, a.Held())
			assert.Equal(t, c.timers, timers)
		})
	}
}
