package protocol

// Defence is a set of the protocol's defences. The simulator runs the protocol
// without one to show what it is for, and that its absence would be noticed.
// No option of the Locker's leads here: what ships has them all.
type Defence uint16

// The defences that can be left out.
const (
	DriftMargin      Defence = 1 << iota // validity gives up what drift and grain may take
	CountFromSending                     // validity counts from before the request left
	UnknownIsNoVote                      // an error or a timeout is no grant
	ConfirmToken                         // unequal fences are confirmed before they make a token
	NoHigherGrants                       // a grant above the token does not count for it
	CheckAtHandover                      // validity is checked again as the lease reaches its user
	EndForGood                           // a lease that ran out never comes back
	ReleaseUnknown                       // nodes that did not answer are released too
	RestartGuard                         // a node that may have lost grants is not counted
	ClockGuard                           // a node whose clock leapt is not counted
	AliasGuard                           // one server under two names votes once
	OwnTokens                            // each user that a lease is passed to has a token of its own
	StoreSpare                           // the last of those tokens is stored before the lease is won
	BoundedRoundTrip                     // a pause of the process is not taken for a slow network
	HandoffPause                         // a process that passed a lease on lets others ask before it does again
)

func (c *Config) without(d Defence) bool { return c.Without&d != 0 }
