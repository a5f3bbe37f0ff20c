package protocol

import "testing"

// The largest of a majority's fences is no token by itself: another attempt may
// get the same from another majority. It has to be stored first where the fence
// is lower.
func TestConfirmGoesToTheLowerNodesOnly(t *testing.T) {
	tell(t, 5, `
		0s   start           -> acquire 0,1,2,3,4
		1ms  0 granted 3     ->
		1ms  1 granted 9     ->
		2ms  2 granted 5     -> confirm 0 3 to 9; confirm 2 5 to 9
		3ms  0 granted       ->
		4ms  2 granted       -> won 9 until 1.186s
	`)
}

func TestAMajorityThatHappensToBeEqualNeedsNoConfirm(t *testing.T) {
	t.Run("of the lower fence", func(t *testing.T) {
		tell(t, 5, `
			0s   start           -> acquire 0,1,2,3,4
			1ms  0,1 granted 3   ->
			1ms  2 granted 9     -> confirm 0,1 3 to 9
			2ms  3 granted 3     -> confirm 3 3 to 9; won 3 until 1.186s
		`)
	})
	t.Run("of a fence above the token", func(t *testing.T) {
		tell(t, 5, `
			0s   start           -> acquire 0,1,2,3,4
			1ms  0 granted 1     ->
			1ms  1 granted 1     ->
			1ms  2 granted 9     -> confirm 0,1 1 to 9
			2ms  0 refused       ->
			3ms  3,4 granted 9   -> won 9 until 1.186s
		`)
	})
}

// A grant above the token cannot count for it: its node's counter went past the
// token before this attempt was there, perhaps for another's.
func TestAHigherGrantDoesNotCountForTheToken(t *testing.T) {
	tell(t, 5, `
		0s   start                 -> acquire 0,1,2,3,4
		1ms  0 granted 1           ->
		1ms  1 granted 1           ->
		1ms  2 granted 5           -> confirm 0,1 1 to 5
		2ms  3 granted 8           ->
		2ms  0 granted             ->
		3ms  4 granted 9           ->
		4ms  1 granted             -> won 5 until 1.186s
	`)
	tell(t, 5, `
		0s   start                 -> acquire 0,1,2,3,4
		1ms  0 granted 1           ->
		1ms  1 granted 1           ->
		1ms  2 granted 5           -> confirm 0,1 1 to 5
		2ms  3 granted 8           ->
		2ms  0 granted             ->
		3ms  4 granted 9           ->
		4ms  1 refused             -> failed: others hold the key; release 0,2,3,4
	`)
}

// A node whose answer comes during the second trip takes part in it: else one
// slow node and one lost confirm would lose the lock.
func TestALateGrantTakesPartInTheSecondTrip(t *testing.T) {
	t.Run("with the token itself", func(t *testing.T) {
		tell(t, 3, `
			0s   start       -> acquire 0,1,2
			1ms  0 granted 1 ->
			1ms  1 granted 2 -> confirm 0 1 to 2
			2ms  2 granted 2 -> won 2 until 1.186s
		`)
	})
	t.Run("with a lower fence, once it is confirmed", func(t *testing.T) {
		tell(t, 5, `
			0s   start         -> acquire 0,1,2,3,4
			1ms  0,1 granted 3 ->
			1ms  2 granted 9   -> confirm 0,1 3 to 9
			2ms  0 unknown     ->
			3ms  3 granted 4   -> confirm 3 4 to 9
			3ms  1 granted     ->
			4ms  3 granted     -> won 9 until 1.186s
		`)
	})
}

// A confirm is refused when the grant is gone. Then the node has not stored the
// token, and its grant must not count for validity either.
func TestARefusedConfirmTakesTheGrantAway(t *testing.T) {
	t.Run("the others still make a majority", func(t *testing.T) {
		tell(t, 3, `
			0s   start         -> acquire 0,1,2
			1ms  0 granted 1   ->
			1ms  1 granted 2   -> confirm 0 1 to 2
			2ms  0 refused     ->
			3ms  2 granted 1   -> confirm 2 1 to 2
			4ms  2 granted     -> won 2 until 1.186s
		`)
	})
	t.Run("they do not", func(t *testing.T) {
		tell(t, 3, `
			0s   start         -> acquire 0,1,2
			1ms  0 granted 1   ->
			1ms  1 granted 2   -> confirm 0 1 to 2
			2ms  2 refused 1s  ->
			3ms  0 refused     -> failed: others hold the key; release 1
			4ms  1 granted     -> finished
		`)
	})
	t.Run("a barred confirm is released all the same", func(t *testing.T) {
		tell(t, 3, `
			0s   start         -> acquire 0,1,2
			1ms  0 granted 1   ->
			1ms  1 granted 2   -> confirm 0 1 to 2
			2ms  2 refused 1s  ->
			3ms  0 barred 3s   -> failed: others hold the key; release 0,1
		`)
	})
}

// A confirm has a deadline of its own; its loss is an unknown vote.
func TestAConfirmThatIsNotAnsweredIsNoVote(t *testing.T) {
	tell(t, 3, `
		0s     start         -> acquire 0,1,2
		50ms   0 granted 1   ->
		50ms   1 granted 2   -> confirm 0 1 to 2
		100ms  tick          ->
		150ms  tick          -> failed: too many nodes failed; release 0,1,2
	`)
}

// The token of a lease never changes, also when a node grants it anew with a
// larger fence; and such a node must learn the token, or it could grant a smaller
// one to the next holder.
func TestHealingTeachesTheToken(t *testing.T) {
	tell(t, 3, `
		0s     start 5             -> acquire 0,1,2 from 5
		1ms    0,1 granted 7       -> won 7 until 1.186s
		1ms    take                ->
		2ms    2 refused 50ms      ->
		25ms   tick                -> acquire 2 from 8
		26ms   2 granted 8         ->
		400ms  tick                -> extend 0,1 of 7; extend 2 of 8
	`)
}

// Counters seen in refusals teach the next attempt its hint, so that its grants
// agree.
func TestFailuresTellTheLargestCounter(t *testing.T) {
	s := tell(t, 3, `
		0s   start 5                     -> acquire 0,1,2 from 5
		1ms  0 refused counter=40 100ms  ->
	`)
	out := s.machine.Step(storyStart.Add(2e6), Input{Kind: Voted, Node: 1, Op: Acquire, Request: 2,
		Vote: Vote{Outcome: Refused, Counter: 12}}, nil)
	for _, o := range out {
		if o.Kind == Failed && o.Failure.Counter != 40 {
			t.Fatalf("told counter %d, want 40", o.Failure.Counter)
		}
	}
}
