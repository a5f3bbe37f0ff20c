package protocol

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Waiting for the slowest node would make every lock as slow as the worst one.
func TestAcquireDecidesAsSoonAsSuccessIsCertain(t *testing.T) {
	t.Run("a majority of equal fences is one trip", func(t *testing.T) {
		tell(t, 5, `
			0s   start 7        -> acquire 0,1,2,3,4 from 7
			1ms  3,1 granted 7  ->
			2ms  4 granted 7    -> won 7 until 1.186s
		`)
	})
	t.Run("unequal votes beside the majority do not matter", func(t *testing.T) {
		tell(t, 5, `
			0s   start 7          -> acquire 0,1,2,3,4 from 7
			1ms  0 refused 200ms  ->
			1ms  1 unknown        ->
			2ms  2-3 granted 7    ->
			3ms  4 granted 7      -> won 7 until 1.186s
		`)
	})
	t.Run("one node is a quorum of one", func(t *testing.T) {
		tell(t, 1, `
			0s   start      -> acquire 0
			1ms  0 granted 1 -> won 1 until 1.186s
		`)
	})
	t.Run("of four nodes two are not a majority", func(t *testing.T) {
		tell(t, 4, `
			0s   start         -> acquire 0,1,2,3
			1ms  0,1 granted 1 ->
			2ms  2 granted 1   -> won 1 until 1.186s
		`)
	})
	t.Run("a quorum above the majority is waited for", func(t *testing.T) {
		cfg := storyConfig(5)
		cfg.Quorum = 4
		tellWith(t, cfg, storyTTL, `
			0s   start         -> acquire 0,1,2,3,4
			1ms  0-2 granted 1 ->
			2ms  3 granted 1   -> won 1 until 1.186s
		`)
	})
}

// A waiter that waits for votes which cannot help it holds up the others with
// those it has.
func TestAcquireDecidesAsSoonAsFailureIsCertain(t *testing.T) {
	t.Run("refused by a majority", func(t *testing.T) {
		tell(t, 5, `
			0s   start             -> acquire 0,1,2,3,4
			1ms  0 granted 1       ->
			1ms  1,2 refused 300ms ->
			2ms  3 refused 200ms   -> failed: others hold the key, free in 200ms; release 0
		`)
	})
	t.Run("a tie of four nodes is decided: nobody has won", func(t *testing.T) {
		tell(t, 4, `
			0s   start             -> acquire 0,1,2,3
			1ms  0,1 granted 1     ->
			2ms  2 refused 300ms   ->
			2ms  3 refused 400ms   -> failed: others hold the key, free in 300ms; release 0,1
		`)
	})
	t.Run("of four nodes two that refuse are enough, once a third says who failed", func(t *testing.T) {
		tell(t, 4, `
			0s   start             -> acquire 0,1,2,3
			1ms  0,1 refused 300ms ->
			2ms  2 granted 1       -> failed: others hold the key, free in 300ms; release 2
		`)
	})
	t.Run("nobody answers", func(t *testing.T) {
		tell(t, 3, `
			0s     start -> acquire 0,1,2
			100ms  tick  -> failed: too many nodes failed; release 0,1,2
		`)
	})
	t.Run("errors come before the deadline", func(t *testing.T) {
		tell(t, 3, `
			0s   start       -> acquire 0,1,2
			1ms  0 unknown   ->
			2ms  1 unknown   -> failed: too many nodes failed; release 0,1,2
		`)
	})
}

// Who retries on an outage as on contention hides it; who raises an alarm on
// contention cries wolf.
func TestAcquireTellsContentionFromOutage(t *testing.T) {
	t.Run("a quorum answered: others hold the key", func(t *testing.T) {
		tell(t, 3, `
			0s   start           -> acquire 0,1,2
			1ms  0 refused 300ms ->
			2ms  1 unknown       ->
			3ms  2 granted 1     -> failed: others hold the key; release 1,2
		`)
	})
	t.Run("the failures alone make a quorum impossible", func(t *testing.T) {
		tell(t, 5, `
			0s   start           -> acquire 0,1,2,3,4
			1ms  0,1 granted 1   ->
			1ms  2-4 unknown     -> failed: too many nodes failed; release 0,1,2,3,4
		`)
	})
	t.Run("one refusal and one failure of three: the third node decides which", func(t *testing.T) {
		tell(t, 3, `
			0s     start           -> acquire 0,1,2
			1ms    0 refused 300ms ->
			2ms    1 unknown       ->
			100ms  tick            -> failed: too many nodes failed; release 1,2
		`)
	})
	t.Run("half of four nodes failed: no quorum", func(t *testing.T) {
		tell(t, 4, `
			0s   start       -> acquire 0,1,2,3
			1ms  0,1 unknown -> failed: too many nodes failed; release 0,1,2,3
		`)
	})
}

// A waiter that is told too long a time idles; too short a one, it polls.
func TestRemainingIsWhenEnoughNodesAreFree(t *testing.T) {
	t.Run("the quorum's last node decides", func(t *testing.T) {
		tell(t, 3, `
			0s   start           -> acquire 0,1,2
			1ms  0 refused 900ms ->
			2ms  1 refused 200ms -> failed: others hold the key, free in 200ms
		`)
	})
	t.Run("a quorum of all needs the last of all", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.Quorum = 3
		tellWith(t, cfg, storyTTL, `
			0s   start             -> acquire 0,1,2
			1ms  0,1 refused 900ms ->
			2ms  2 refused 200ms   -> failed: others hold the key, free in 900ms; finished
		`)
	})
	t.Run("enough others are free: a released owner's rest", func(t *testing.T) {
		tell(t, 5, `
			0s   start           -> acquire 0,1,2,3,4
			1ms  0 refused 900ms ->
			2ms  1-3 unknown     -> failed: too many nodes failed; release 1,2,3,4
		`)
	})
}

// A node whose grants cannot be trusted must not make a majority; but it may
// have made a grant, which blocks others until it is given back.
func TestBarredVotesDoNotCount(t *testing.T) {
	t.Run("they are no votes, and are released", func(t *testing.T) {
		tell(t, 3, `
			0s   start            -> acquire 0,1,2
			1ms  0 granted 1      ->
			2ms  1 barred 3s      ->
			3ms  2 refused 300ms  -> failed: others hold the key; release 0,1
			4ms  0,1 granted      -> finished
		`)
	})
	t.Run("barred for a known time is healing, not an outage", func(t *testing.T) {
		tell(t, 3, `
			0s   start       -> acquire 0,1,2
			1ms  0 barred 3s ->
			2ms  1 barred 2s -> failed: too many nodes failed, heals in 2s; release 0,1,2
		`)
	})
	t.Run("barred for good is an outage", func(t *testing.T) {
		tell(t, 3, `
			0s   start     -> acquire 0,1,2
			1ms  0 barred  ->
			2ms  1 barred  -> failed: too many nodes failed; release 0,1,2
		`)
	})
	t.Run("it heals if the others that failed are few enough", func(t *testing.T) {
		tell(t, 5, `
			0s   start         -> acquire 0,1,2,3,4
			1ms  0 barred 3s   ->
			2ms  1-2 unknown   -> failed: too many nodes failed, heals in 3s; release 0,1,2,3,4
		`)
		tell(t, 5, `
			0s   start         -> acquire 0,1,2,3,4
			1ms  0-2 unknown   -> failed: too many nodes failed; release 0,1,2,3,4
		`)
		tell(t, 4, `
			0s   start         -> acquire 0,1,2,3
			1ms  0 unknown     ->
			2ms  1 barred      -> failed: too many nodes failed; release 0,1,2,3
		`)
	})
	t.Run("a majority of others wins without it", func(t *testing.T) {
		tell(t, 3, `
			0s   start          -> acquire 0,1,2
			1ms  0 barred 3s    ->
			2ms  1,2 granted 4  -> won 4 until 1.186s
			3ms  take           ->
			4ms  unlock         -> release 0,1,2
			5ms  1,2 granted    -> released
			6ms  0 granted      -> finished
		`)
	})
}

// A caller that is cancelled must leave nothing behind: a grant that nobody
// releases blocks everybody for a TTL.
func TestCancelledAttemptsGiveEverythingBack(t *testing.T) {
	t.Run("before it began", func(t *testing.T) {
		tell(t, 3, `
			0s unlock -> finished
			1s start  ->
		`)
	})
	t.Run("while votes are out", func(t *testing.T) {
		tell(t, 3, `
			0s   start                -> acquire 0,1,2
			1ms  0 granted 1          ->
			2ms  1 refused 300ms      ->
			3ms  unlock               -> failed: cancelled; release 0,2
			4ms  0 granted            ->
			5ms  2 acquire granted 1  ->
			6ms  2 granted            -> finished
		`)
	})
	t.Run("during the second trip", func(t *testing.T) {
		tell(t, 3, `
			0s   start                -> acquire 0,1,2
			1ms  0 granted 1          ->
			1ms  1 granted 2          -> confirm 0 1 to 2
			3ms  unlock               -> failed: cancelled; release 0,1,2
			4ms  0 confirm granted    ->
			5ms  2 acquire granted 2  ->
			6ms  all granted          -> finished
		`)
	})
	t.Run("after it was won, before it was taken", func(t *testing.T) {
		tell(t, 3, `
			0s   start           -> acquire 0,1,2
			1ms  0,1 granted 1   -> won 1 until 1.186s
			2ms  unlock          -> release 0,1,2
			3ms  take            ->
			4ms  0,1 granted     -> released
			5ms  2 acquire granted 1 ->
			6ms  2 granted       -> finished
		`)
	})
}

// What a holder relies on must be less than what the nodes keep, whatever the
// order of events.
func TestValidity(t *testing.T) {
	t.Run("counts from before the first send, not from the answers", func(t *testing.T) {
		tell(t, 3, `
			0s    start           -> acquire 0,1,2
			99ms  0,1 granted 1   -> won 1 until 1.186s
		`)
	})
	t.Run("too little is left when the last needed vote comes", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NodeTimeout = time.Second
		tellWith(t, cfg, storyTTL, `
			0s         start         -> acquire 0,1,2
			1ms        0 granted 1   ->
			686.000001ms 1 granted 1 -> failed: the votes came too late; release 0,1,2
		`)
		tellWith(t, cfg, storyTTL, `
			0s         start         -> acquire 0,1,2
			1ms        0 granted 1   ->
			686ms      1 granted 1   -> won 1 until 1.186s
		`)
	})
	t.Run("the confirm's trip costs validity as well", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NodeTimeout = 400 * time.Millisecond
		tellWith(t, cfg, storyTTL, `
			0s      start         -> acquire 0,1,2
			350ms   0 granted 1   ->
			350ms   1 granted 2   -> confirm 0 1 to 2
			400ms   tick          ->
			700ms   0 granted     -> failed: the votes came too late; release 0,1,2
		`)
	})
	t.Run("without a minimum, none left is still too late", func(t *testing.T) {
		cfg := storyConfig(1)
		cfg.MinValidity, cfg.NodeTimeout = 0, 2*time.Second
		tellWith(t, cfg, storyTTL, `
			0s             start       -> acquire 0
			1186ms         0 granted 1 -> failed: the votes came too late; release 0
		`)
		tellWith(t, cfg, storyTTL, `
			0s             start       -> acquire 0
			1185.999999ms  0 granted 1 -> won 1 until 1.186s
		`)
	})
}

// A process can be paused between winning and using. A lease that is over by
// then was never acquired: reported as won and lost, it would make the user do
// work that began after the end.
func TestTakeChecksValidityAgain(t *testing.T) {
	const won = `
		0s    start           -> acquire 0,1,2
		1ms   0,1 granted 1   -> won 1 until 1.186s
		2ms   2 granted 1     ->
	`
	t.Run("enough is left", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NoRenew = true
		tellWith(t, cfg, storyTTL, won+`
			686ms    take -> 
			1186ms   tick -> lost: not renewed in time; release 0,1,2
		`)
	})
	t.Run("too little is left", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NoRenew = true
		tellWith(t, cfg, storyTTL, won+`
			686.000001ms  take -> failed: the votes came too late; release 0,1,2
		`)
	})
	t.Run("it expired before anybody took it", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NoRenew = true
		tellWith(t, cfg, storyTTL, won+`
			1186ms   tick         -> failed: the votes came too late; release 0,1,2
			1187ms   take         ->
			1188ms   all granted  -> finished
		`)
	})
	t.Run("a pause hides the timer, take is the first to see it", func(t *testing.T) {
		tell(t, 3, won+`
			5s late take -> failed: the votes came too late; release 0,1,2
		`)
	})
}

// The time is what the driver says, but an Attempt's own never goes back: two
// goroutines may have read the clock in one order and step in the other.
func TestTimeNeverGoesBack(t *testing.T) {
	cfg := storyConfig(1)
	a := New(&cfg)
	a.Step(storyStart.Add(time.Second), Input{Kind: Start, TTL: storyTTL}, nil)
	for _, o := range a.Step(storyStart, Input{Kind: Relinquish}, nil) {
		if o.Kind == Failed {
			require.Zero(t, o.Failure.Elapsed)
		}
		if o.Kind == Send {
			require.Equal(t, storyStart.Add(time.Second+cfg.NodeTimeout), o.Request.Deadline)
		}
	}
}

// Timers fire a little early on some clocks. One that was not set again then
// would never end the lease.
func TestATimerThatFiresEarlyIsSetAgain(t *testing.T) {
	cfg := storyConfig(1)
	a := New(&cfg)
	a.Step(storyStart, Input{Kind: Start, TTL: storyTTL}, nil)
	early := storyStart.Add(cfg.NodeTimeout - 1)
	require.Equal(t, []Output{{Kind: SetTimer, At: early + 1}}, a.Step(early, Input{Kind: Tick}, nil))
}
