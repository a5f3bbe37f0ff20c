package protocol

import "time"

const (
	// turn is for how long a process passes a lease on, however short its sections.
	turn = 100 * time.Millisecond

	// turnTrips is how many times as long as it took to win a turn lasts at least:
	// then what it takes to win the next is small beside it.
	turnTrips = 32

	// MaxSpare bounds how far one lease can take tokens ahead of the clocks that hints
	// are taken from. Where counters are lost, tokens grow by those.
	MaxSpare = 4096
)

// pass gives the lease to the next user in the same process, without asking any
// node: the grants are this attempt's, and stay so. The next user gets a token of
// its own, from those to spare: a majority has stored the last of them under this
// attempt's grants, so all are above every token used and below every one that
// other attempts will get, by the same argument as for the first (see agreed).
//
// It is refused when the process has had its turn, for as long as passing on saves
// much: other processes wait too. And it is refused once the validity that the
// lease was won with has run out, renewed or not.
func (a *Attempt) pass(now Instant) {
	if a.phase != held || a.spare == 0 || now > a.passUntil || a.until.Sub(now) < a.cfg.MinValidity {
		a.out = append(a.out, Output{Kind: NotPassed})
		return
	}
	if a.extendGoal != 0 {
		a.extendGoal = 0
		a.out = append(a.out, Output{Kind: NotProlonged, Reason: Cancelled, Votes: a.outcomes()})
	}
	if !a.cfg.without(OwnTokens) {
		a.spare--
		a.token++
	}
	if a.cfg.MaxHold > 0 {
		a.holdEnd = now.Add(a.cfg.MaxHold)
		a.until = a.validity()
	}
	a.taken, a.passed = false, true
	a.out = append(a.out, Output{Kind: Passed, Token: a.token, Until: a.until})
}

// Pause is how long the process of a lease that is over leaves the key alone, if
// its next user waits already. Where nodes keep no queues, others find the key
// free by chance: with one request after another they would have to hit the round
// trip between release and acquire. A process whose users passed the lease on
// kept the key for as long as many leases, so it leaves a share of that time to
// others, but no more than most of them need to ask once.
func (a *Attempt) Pause(now Instant) time.Duration {
	if !a.passed || a.cfg.Queues >= a.cfg.Quorum || a.cfg.without(HandoffPause) {
		return 0
	}
	return min(now.Sub(a.started)/4, a.cfg.RetryMax/2)
}
