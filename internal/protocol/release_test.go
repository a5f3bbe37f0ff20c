package protocol

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const heldByThree = `
	0s    start           -> acquire 0,1,2
	1ms   0-2 granted 7   -> won 7 until 1.186s
	2ms   take            ->
`

// The user waits for a majority only: with it free, the next holder can win.
func TestUnlockIsReleasedAtAMajority(t *testing.T) {
	t.Run("all nodes held", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms  unlock      -> release 0,1,2
			4ms  2 granted   ->
			5ms  0 granted   -> released
			6ms  1 granted   -> finished
		`)
	})
	t.Run("nodes that refused are free already", func(t *testing.T) {
		tell(t, 3, `
			0s    start          -> acquire 0,1,2
			1ms   0,1 granted 7  -> won 7 until 1.186s
			2ms   2 refused 50ms ->
			3ms   take           ->
			4ms   unlock         -> release 0,1
			5ms   1 granted      -> released
			6ms   0 granted      -> finished
		`)
	})
	t.Run("a second unlock does nothing", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms  unlock      -> release 0,1,2
			3ms  unlock      ->
			5ms  all granted -> released; finished
			6ms  unlock      ->
		`)
	})
	t.Run("an unlock after the end is too late", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3s late unlock -> lost: not renewed in time; release 0,1,2
		`)
	})
}

// A node whose answer never came may hold the grant: only its release makes sure.
// One that refused holds nothing, and a release would only cost a request.
func TestReleasesGoWhereAGrantMayBe(t *testing.T) {
	tell(t, 5, `
		0s     start          -> acquire 0,1,2,3,4
		1ms    0 granted 1    ->
		1ms    1 unknown      ->
		1ms    2 refused 1s   ->
		1ms    3 barred 1s    ->
		100ms  tick           -> failed: too many nodes failed, heals in 1s; release 0,1,3,4
	`)
}

// A grant that arrives after the end would keep others out for a TTL, if nobody
// gave it back.
func TestLateGrantsAreReleased(t *testing.T) {
	const cancelled = `
		0s     start            -> acquire 0,1
		1ms    0 refused 300ms  ->
		2ms    unlock           -> failed: cancelled, free in 300ms; release 1
	`
	t.Run("by the release under way, which is final whatever the order", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 acquire granted 1 ->
			6ms    1 granted           -> finished
		`)
	})
	t.Run("by another one if the release was answered first", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 granted           ->
			6ms    1 acquire granted 1 -> release 1
			7ms    1 granted           -> finished
		`)
	})
	t.Run("at once, if the release is being waited to be tried again", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 release unknown   ->
			6ms    1 acquire granted 1 -> release 1
			7ms    1 granted           -> finished
		`)
	})
	t.Run("a late grant that is barred is one all the same", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 granted           ->
			6ms    1 acquire barred 1s -> release 1
			7ms    1 granted           -> finished
		`)
	})
	t.Run("a late refusal needs nothing", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 granted            ->
			6ms    1 acquire refused 1s -> finished
		`)
	})
	t.Run("nothing is finished while an answer is due", func(t *testing.T) {
		tell(t, 2, cancelled+`
			5ms    1 granted           ->
			9s     1 acquire unknown   -> finished
		`)
	})
}

// Where others hold the key, a node that has not answered most likely refuses,
// and a release would be for nothing.
func TestAnswersToALostRoundAreWaitedFor(t *testing.T) {
	const failed = `
		0s     start            -> acquire 0,1,2
		1ms    0 refused 300ms  ->
		2ms    1 refused 300ms  -> failed: others hold the key, free in 300ms
	`
	t.Run("a refusal ends it", func(t *testing.T) {
		tell(t, 3, failed+`
			3ms    2 refused 300ms -> finished
		`)
	})
	t.Run("a grant is given back at once", func(t *testing.T) {
		tell(t, 3, failed+`
			3ms    2 granted 1     -> release 2
			4ms    2 granted       -> finished
		`)
	})
	t.Run("a node that does not answer is told at the deadline", func(t *testing.T) {
		tell(t, 3, failed+`
			100ms  tick              -> release 2
			101ms  2 granted         ->
			9s     2 acquire unknown -> finished
		`)
	})
	t.Run("or when it fails", func(t *testing.T) {
		tell(t, 3, failed+`
			3ms    2 unknown       -> release 2
			4ms    2 granted       -> finished
		`)
	})
	t.Run("or at once, to make an end", func(t *testing.T) {
		tell(t, 3, failed+`
			3ms    drain             -> release 2
			4ms    2 granted         ->
			9s     2 acquire unknown -> finished
		`)
	})
}

// A node that is away for a while still has the grant when it comes back: it
// must be asked again, but not without end, nor so often that it suffers.
func TestReleasesAreRetriedAfterTwiceTheTimeEach(t *testing.T) {
	t.Run("until the grant has expired anyway", func(t *testing.T) {
		tell(t, 1, `
			0s      start        -> acquire 0
			100ms   tick         -> failed: too many nodes failed; release 0
			200ms   tick         ->
			300ms   tick         -> release 0
			400ms   tick         ->
			600ms   tick         -> release 0
			700ms   tick         ->
			1100ms  tick         -> release 0
			1200ms  tick         ->
			1300ms  0 acquire unknown ->
			1300ms  0 release unknown ->
			1300ms  0 release unknown ->
			1300ms  0 release unknown ->
			1300ms  0 release unknown -> finished, but not free
		`)
	})
	t.Run("an error plans the retry as a deadline does, and only once", func(t *testing.T) {
		tell(t, 1, `
			0s     start             -> acquire 0
			1ms    0 unknown         -> failed: too many nodes failed; release 0
			11ms   0 unknown         ->
			111ms  tick              -> release 0
			211ms  tick              ->
			212ms  0 unknown         ->
			411ms  tick              -> release 0
			412ms  0 granted         -> finished
		`)
	})
	t.Run("an answer after the deadline is still an answer", func(t *testing.T) {
		tell(t, 1, `
			0s     start             -> acquire 0
			1ms    0 unknown         -> failed: too many nodes failed; release 0
			101ms  tick              ->
			150ms  0 granted         -> finished
		`)
	})
}

// A user who waits for the release must hear that it is not through, and need
// not wait for the retries.
func TestUnlockTellsThatTooFewNodesReleased(t *testing.T) {
	t.Run("they fail", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock      -> release 0,1,2
			4ms    0 granted   ->
			5ms    1 unknown   ->
			6ms    2 unknown   -> not released
			105ms  tick        -> release 1
			106ms  tick        -> release 2
			107ms  1 granted   ->
			108ms  2 granted   -> finished
		`)
	})
	t.Run("they do not answer", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock      -> release 0,1,2
			4ms    0 granted   ->
			103ms  tick        -> not released
		`)
	})
	t.Run("one that is away does not matter", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock      -> release 0,1,2
			4ms    0 granted   ->
			5ms    1 unknown   ->
			6ms    2 granted   -> released
			105ms  tick        -> release 1
			106ms  1 granted   -> finished
		`)
	})
	t.Run("a node whose late grant is known is not free before its release is handled", func(t *testing.T) {
		tell(t, 3, `
			0s    start                -> acquire 0,1,2
			1ms   0,1 granted 7        -> won 7 until 1.186s
			2ms   take                 ->
			3ms   unlock               -> release 0,1,2
			4ms   2 acquire granted 7  ->
			5ms   0 granted            ->
			6ms   2 granted            -> released
			7ms   1 granted            -> finished
		`)
	})
	t.Run("one that refused late is free at once", func(t *testing.T) {
		tell(t, 3, `
			0s    start                   -> acquire 0,1,2
			1ms   0,1 granted 7           -> won 7 until 1.186s
			2ms   take                    ->
			3ms   unlock                  -> release 0,1,2
			4ms   2 acquire refused 50ms  ->
			5ms   0 granted               -> released
			7ms   1,2 granted             -> finished
		`)
	})
	t.Run("an unanswered acquire of the minority may be a grant until it is released", func(t *testing.T) {
		tell(t, 3, `
			0s    start            -> acquire 0,1,2
			1ms   0,1 granted 7    -> won 7 until 1.186s
			2ms   take             ->
			3ms   unlock           -> release 0,1,2
			4ms   0 granted        ->
			5ms   2 granted        -> released
			6ms   1 granted        ->
			7ms   2 acquire unknown -> finished
		`)
	})
}

// Close must end, whatever the nodes do, and yet not leave a key locked for a TTL
// because of a blip: what fails at once is tried once more, a moment later.
func TestDrainMakesAnEnd(t *testing.T) {
	t.Run("a release that fails is tried again a quarter of the node timeout after the first try", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    0-2 unknown   -> not released
			28ms   tick          -> release 0,1,2
			30ms   0-2 granted   -> finished
		`)
	})
	t.Run("and for the last time", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    0 granted     ->
			5ms    1,2 unknown   -> not released
			28ms   tick          -> release 1,2
			31ms   1,2 unknown   -> finished, but not free
		`)
	})
	t.Run("one that is not answered in time is not repeated", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    0,1 granted   -> released
			103ms  tick          ->
			104ms  2 unknown     -> finished
		`)
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    0 granted     ->
			103ms  tick          -> not released
			104ms  1,2 unknown   -> finished, but not free
		`)
	})
	t.Run("one that was answered later than that is through", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			103ms  tick          -> not released
			104ms  0-2 granted   -> finished
		`)
	})
	t.Run("a release that waits for its retry goes out then, for the last time", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock        -> release 0,1,2
			4ms    0,1 granted   -> released
			5ms    2 unknown     ->
			6ms    drain         ->
			28ms   tick          -> release 2
			32ms   2 unknown     -> finished
		`)
	})
	t.Run("or at once, if that is over", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock        -> release 0,1,2
			4ms    0,1 granted   -> released
			103ms  tick          ->
			110ms  drain         -> release 2
			210ms  tick          ->
			211ms  2 release unknown ->
			212ms  2 unknown     -> finished
		`)
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    0,1 granted   -> released
			90ms   2 unknown     -> release 2
			91ms   2 unknown     -> finished
		`)
	})
	t.Run("the first try under way is not the last if it fails", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock        -> release 0,1,2
			4ms    drain         ->
			5ms    0,1 granted   -> released
			6ms    2 unknown     ->
			28ms   tick          -> release 2
			32ms   2 granted     -> finished
		`)
	})
	t.Run("a node that is given up is not free", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    unlock        -> release 0,1,2
			4ms    drain         ->
			5ms    0 unknown     ->
			6ms    1 unknown     -> not released
			28ms   tick          -> release 0,1
			32ms   0,1 unknown   ->
			103ms  tick          ->
			104ms  2 granted     -> finished, but not free
		`)
	})
	t.Run("it unlocks what is held", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			3ms    drain         -> release 0,1,2
			4ms    all granted   -> released; finished
		`)
	})
	t.Run("it gives up what is not won yet", func(t *testing.T) {
		tell(t, 3, `
			0s     start                 -> acquire 0,1,2
			1ms    drain                 -> failed: cancelled; release 0,1,2
			2ms    all acquire granted 1 ->
			3ms    all granted           -> finished
		`)
		tell(t, 3, `
			0s     drain         -> finished
		`)
	})
	t.Run("a late grant is still released", func(t *testing.T) {
		tell(t, 1, `
			0s     start                 -> acquire 0
			1ms    drain                 -> failed: cancelled; release 0
			2ms    0 release granted     ->
			3ms    0 acquire granted 1   -> release 0
			4ms    0 unknown             ->
			28ms   tick                  -> release 0
			29ms   0 unknown             -> finished, but not free
		`)
	})
	t.Run("by the last try, if that is planned", func(t *testing.T) {
		tell(t, 1, `
			0s     start                 -> acquire 0
			1ms    drain                 -> failed: cancelled; release 0
			2ms    0 release unknown     ->
			3ms    0 acquire granted 1   ->
			26ms   tick                  -> release 0
			27ms   0 granted             -> finished
		`)
	})
}

// Answers to superseded requests say nothing about the newest one; but an
// acquire among them may have left a grant.
func TestLateAnswersToSupersededRequests(t *testing.T) {
	const heldByTwo = `
		0s     start             -> acquire 0,1,2
		1ms    0,1 granted 7     -> won 7 until 1.186s
		2ms    take              ->
		100ms  tick              -> acquire 2 from 8
	`
	t.Run("an old grant does not vouch for the new request's time", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			200ms  tick                  -> acquire 2 from 8
			300ms  tick                  ->
			400ms  tick                  -> extend 0,1 of 7; acquire 2 from 8
			401ms  2 acquire granted 7   ->
			402ms  0 granted             ->
			403ms  2 granted 7           -> valid until 1.586s
		`)
	})
	t.Run("an acquire without an answer may be a grant, though a later one was refused", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			110ms  2 acquire unknown     ->
			111ms  2 acquire refused 1s  ->
			120ms  unlock                -> release 0,1,2
			121ms  all granted           -> released; finished
		`)
	})
	t.Run("two refusals leave nothing to release", func(t *testing.T) {
		tell(t, 3, heldByTwo+`
			110ms  2 acquire refused 1s  ->
			111ms  2 acquire refused 1s  ->
			120ms  unlock                -> release 0,1
			121ms  0,1 granted           -> released; finished
		`)
	})
	t.Run("an old extend's yes is worth what it was asked for", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			10ms   prolong 3s            -> extend 0,1,2 of 7 for 3s
			20ms   prolong 2s            -> extend 0,1,2 of 7 for 2s
			30ms   prolong 3s            -> extend 0,1,2 of 7 for 3s
			31ms   0,1 extend granted    -> valid until 2.978s
			32ms   0,1 extend granted    ->
			33ms   0,1 extend granted    -> valid until 2.998s; prolonged
		`)
	})
	t.Run("but not of another grant", func(t *testing.T) {
		tell(t, 3, heldByThree+`
			10ms   prolong 5s            -> extend 0,1,2 of 7 for 5s
			20ms   prolong 3s            -> extend 0,1,2 of 7 for 3s
			21ms   0 refused             -> acquire 0 from 8 for 3s
			22ms   0 acquire granted 8   ->
			23ms   0 extend granted      ->
			24ms   1 extend granted      -> valid until 2.989s; prolonged
		`)
	})
	t.Run("an old extend's refusal is told again by the new one", func(t *testing.T) {
		cfg := storyConfig(3)
		cfg.NodeTimeout = 50 * time.Millisecond
		tellWith(t, cfg, storyTTL, `
			0s     start                 -> acquire 0,1,2
			1ms    0-2 granted 7         -> won 7 until 1.186s
			2ms    take                  ->
			400ms  tick                  -> extend 0,1,2 of 7
			401ms  1 granted             ->
			450ms  tick                  ->
			500ms  tick                  -> extend 0,1,2 of 7
			501ms  0 extend refused      ->
			502ms  2 extend granted      -> valid until 1.586s
			503ms  1 extend granted      ->
			504ms  2 granted             -> valid until 1.686s
			505ms  0 refused             -> acquire 0 from 8
		`)
	})
}

// Requests may be reordered: a grant that is told after a newer request was
// refused is still there.
func TestOvertakenGrantIsReleased(t *testing.T) {
	tell(t, 3, `
		0s    start               -> acquire 0,1,2
		1ms   0,1 granted 7       -> won 7 until 1.186s
		2ms   take                ->
		10ms  prolong 3s          -> extend 0,1 of 7 for 3s; acquire 2 from 8 for 3s
		11ms  0,1 granted         -> valid until 2.978s; prolonged
		12ms  2 refused 5ms       ->
		20ms  2 acquire granted 9 ->
		24ms  unlock              -> release 0,1,2
	`)
}

// A grant that is told while the release is under way does not make the node free
// before the release is answered.
func TestLateGrantIsNotFree(t *testing.T) {
	tell(t, 3, `
		0s    start                -> acquire 0,1,2
		1ms   0,1 granted 7        -> won 7 until 1.186s
		2ms   take                 ->
		3ms   unlock               -> release 0,1,2
		4ms   2 acquire granted 7  ->
		5ms   0 granted            ->
		6ms   2 granted            -> released
	`)
}

// A node may take a release that tells a hint for that of the only acquire it was
// asked.
func TestOnlyTheReleaseOfAFirstAcquireTellsAHint(t *testing.T) {
	s := tell(t, 3, `
		0s     start 5           -> acquire 0,1,2 from 5
		1ms    0-2 granted 5     -> won 5 until 1.186s
		2ms    take              ->
		10ms   prolong 3s        -> extend 0,1,2 of 5 for 3s
		11ms   0 unknown         ->
		12ms   1 refused         -> acquire 1 from 6 for 3s
		13ms   1 granted 6       ->
		14ms   2 granted         -> valid until 2.978s; prolonged
		15ms   unlock            -> release 0,1,2
	`)
	for node := range 3 {
		require.Zero(t, s.latest[node].Hint, "node %d", node)
	}
	s = tell(t, 3, `
		0s     start 5           -> acquire 0,1,2 from 5
		1ms    0-2 granted 5     -> won 5 until 1.186s
		15ms   unlock            -> release 0,1,2
	`)
	for node := range 3 {
		require.EqualValues(t, 5, s.latest[node].Hint, "node %d", node)
	}
}
