package protocol

import "time"

// Op is what a request asks of a node.
type Op uint8

// The operations of a node.
const (
	Acquire Op = iota + 1
	Confirm
	Extend
	Release
)

func (op Op) String() string {
	switch op {
	case Acquire:
		return "acquire"
	case Confirm:
		return "confirm"
	case Extend:
		return "extend"
	case Release:
		return "release"
	}
	return "none"
}

// Request is what an attempt wants sent to a node. The driver answers each
// request once, with a Voted input: with the node's vote, or with Unknown by
// the deadline or soon after it. The attempt itself stops waiting at the
// deadline, whatever the driver does.
type Request struct {
	ID       uint32
	Op       Op
	TTL      time.Duration // Acquire, Extend
	Hint     uint64        // Acquire; Release: that of the only request before, an acquire, or zero
	Queue    bool          // Acquire: a node that refuses shall keep the waiter's place
	First    bool          // Acquire: nothing else was asked under this owner before
	Wake     bool          // Release: the node shall call the waiter whose turn it is
	Fence    uint64        // Confirm, Extend
	Token    uint64        // Confirm
	Deadline Instant
}

// Outcome is what came of a request.
type Outcome uint8

// The outcomes. Unknown is an error or a timeout: the request may have been
// handled, or be handled yet. Barred is an answer that Guards does not let
// count.
const (
	Pending Outcome = iota
	Granted
	Refused
	Unknown
	Barred
)

// failed says that the node did not answer in a way that counts.
func (o Outcome) failed() bool { return o == Unknown || o == Barred }

// Vote is an answer to a request.
type Vote struct {
	Outcome   Outcome
	Fence     uint64        // of a grant
	Counter   uint64        // the node's, if it told
	Remaining time.Duration // of the holder that a refusal names
	BarredFor time.Duration // how long the node is barred yet, if that is known
	Queued    bool          // the node that refused keeps the waiter's place
}

// sane makes a grant with an impossible fence an unknown outcome, and forgets
// impossible counters: they would spoil tokens for good.
func (v Vote) sane(op Op) Vote {
	if op == Acquire && v.Outcome == Granted && (v.Fence == 0 || v.Fence > MaxToken) {
		return Vote{Outcome: Unknown}
	}
	if v.Counter > MaxToken {
		v.Counter = 0
	}
	if op != Acquire || v.Outcome != Granted {
		v.Fence = 0
	}
	return v
}

// InputKind says what happened.
type InputKind uint8

// The inputs of an Attempt.
const (
	Start      InputKind = iota + 1 // begin to acquire: Owner is the driver's to keep, Hint and TTL are needed
	Voted                           // Node answered Request, which was an Op, with Vote
	Tick                            // the timer fired
	Take                            // the lease is handed to its user now
	Prolong                         // the user wants the lease to last TTL from now
	Pass                            // the user is done, and the next one of this process wants the lease
	Relinquish                      // the user unlocks, or gave up waiting
	Drain                           // make an end: one last try for what is still to be released
)

// Input is one event. Which fields matter depends on Kind.
type Input struct {
	Kind    InputKind
	TTL     time.Duration
	Hint    uint64
	Spare   uint64 // how many tokens more it shall have, for those it is passed to
	Queue   bool   // have nodes that refuse keep the waiter's place
	Node    int
	Request uint32
	Op      Op
	Sent    Instant // when the request was, or before; an Extend's TTL and Fence are told with it
	Fence   uint64
	Vote    Vote
}

// OutputKind says what the driver has to do, or to tell.
type OutputKind uint8

// The outputs of an Attempt.
const (
	Send         OutputKind = iota + 1 // send Request to Node
	SetTimer                           // step with Tick at At, instead of any earlier timer; none if At is zero
	Won                                // the lease is held with Token until Until
	Failed                             // the key was not acquired; Failure says why
	Renewed                            // the validity now ends at Until
	Prolonged                          // the last Prolong succeeded; Until is as told by Renewed
	NotProlonged                       // it did not; the lease is valid until Until all the same
	Passed                             // the lease is the next user's now, with Token, until Until
	NotPassed                          // it has to be given up instead
	Lost                               // the lease is over, for Reason
	Released                           // a majority has handled the release
	NotReleased                        // too few have yet; the release goes on
	Finished                           // nothing is left to do and no answer is due
)

// Reason says why something failed.
type Reason uint8

// The reasons.
const (
	Contended   Reason = iota + 1 // others hold the key on too many nodes
	NoQuorum                      // too many nodes failed
	TooSlow                       // the votes came, but too little validity was left
	Cancelled                     // the caller gave up
	Expired                       // the validity ran out before a renewal came through
	GrantsGone                    // too few nodes still have the grant
	HeldTooLong                   // MaxHold
	NotHeld                       // the lease is over
)

func (r Reason) String() string {
	switch r {
	case Contended:
		return "others hold the key"
	case NoQuorum:
		return "too many nodes failed"
	case TooSlow:
		return "the votes came too late"
	case Cancelled:
		return "cancelled"
	case Expired:
		return "not renewed in time"
	case GrantsGone:
		return "too few nodes still have the grant"
	case HeldTooLong:
		return "held for the longest time allowed"
	case NotHeld:
		return "not held"
	}
	return "none"
}

// Output is one thing for the driver to do or to tell. Which fields matter
// depends on Kind.
type Output struct {
	Kind    OutputKind
	Node    int
	Request Request
	At      Instant
	Token   uint64
	Until   Instant
	Reason  Reason
	Failure Failure
	Free    bool // with Finished: a majority is known to be free of the owner
	// Votes has each node's last outcome, with Failed, NotProlonged and
	// NotReleased.
	Votes []Outcome
}

// Failure is what a Waiter needs to know of a failed attempt.
type Failure struct {
	Reason    Reason
	Elapsed   time.Duration // from the first request to the decision: about a round trip
	Remaining time.Duration // until enough nodes are free by themselves, if refusals told
	HealsIn   time.Duration // until enough nodes are no longer barred, if that is all that a quorum lacks
	Counter   uint64        // largest counter seen
	Queued    uint64        // the nodes that keep the waiter's place, a bit each
}
