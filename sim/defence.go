package sim

import (
	"fmt"
	"strings"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Defence is a set of what keeps a lock safe. A world runs without those in
// Config.Without, and shows what they are for.
type Defence uint64

// The defences of the protocol, of its driver and of its nodes.
const (
	DriftMargin      = Defence(protocol.DriftMargin)
	CountFromSending = Defence(protocol.CountFromSending)
	UnknownIsNoVote  = Defence(protocol.UnknownIsNoVote)
	ConfirmToken     = Defence(protocol.ConfirmToken)
	NoHigherGrants   = Defence(protocol.NoHigherGrants)
	CheckAtHandover  = Defence(protocol.CheckAtHandover)
	EndForGood       = Defence(protocol.EndForGood)
	ReleaseUnknown   = Defence(protocol.ReleaseUnknown)
	RestartGuard     = Defence(protocol.RestartGuard)
	ClockGuard       = Defence(protocol.ClockGuard)
	AliasGuard       = Defence(protocol.AliasGuard)
	OwnTokens        = Defence(protocol.OwnTokens)
	StoreSpare       = Defence(protocol.StoreSpare)
	BoundedRoundTrip = Defence(protocol.BoundedRoundTrip)
	HandoffPause     = Defence(protocol.HandoffPause)

	MajorityQuorum  Defence = 1 << (16 + iota - 15) // a quorum is a majority
	VotesByNode                                     // a node's second answer is no second vote
	FreshOwner                                      // a retry has an owner of its own
	BootClock                                       // validity counts suspended time
	SteadyClock                                     // validity is not reckoned by the wall clock
	HintFromClock                                   // hints put tokens above counters that were lost
	AgreedMaxTTL                                    // restart guards wait for the longest TTL of any client
	ReleaseByOwner                                  // a release frees its owner's grant only
	ConfirmByFence                                  // a confirm is for one grant, and not for its owner
	ConfirmByOwner                                  // a confirm is for a grant that stands
	ExtendOnly                                      // an extend never creates a grant
	KeepLonger                                      // an extend never shortens a grant
	RoundUp                                         // nodes round TTLs up
	Tombstones                                      // a release is final
	GrowingFences                                   // each grant's fence is larger than any before it
	HonestFailover                                  // a replica that takes over says that it may have lost grants
	ReservationEnds                                 // a key is not set aside for long
	YieldOwner                                      // each try of one call has an owner of its own
	FencedResource                                  // the resource refuses tokens below the largest it has seen
)

// defences tells of each in a few words; the order is that of the table.
var defences = []struct {
	bit        Defence
	name, text string
}{
	{MajorityQuorum, "majority-quorum", "a quorum is a majority of the nodes"},
	{CountFromSending, "count-from-sending", "validity counts from before a request left"},
	{DriftMargin, "drift-margin", "validity gives up what clock drift may take"},
	{CheckAtHandover, "check-at-handover", "validity is checked again as the lease reaches its user"},
	{EndForGood, "end-for-good", "a lease that ran out never comes back"},
	{UnknownIsNoVote, "unknown-is-no-vote", "an error or a timeout is no vote"},
	{VotesByNode, "votes-by-node", "a node's second answer is no second vote"},
	{AliasGuard, "alias-guard", "one server under two names votes once"},
	{ConfirmToken, "confirm-token", "unequal fences are confirmed before they make a token"},
	{NoHigherGrants, "no-higher-grants", "a grant above the token does not count for it"},
	{ConfirmByFence, "confirm-by-fence", "a confirm names the grant, not only its owner"},
	{ConfirmByOwner, "confirm-by-owner", "a confirm acts only on a grant that stands"},
	{GrowingFences, "growing-fences", "each grant's fence is larger than any before it"},
	{HintFromClock, "hint-from-clock", "hints put tokens above counters that were lost"},
	{RestartGuard, "restart-guard", "a node that may have lost grants is not counted"},
	{AgreedMaxTTL, "agreed-max-ttl", "it is not counted for the longest TTL of any client"},
	{HonestFailover, "honest-failover", "a replica that takes over says that it may have lost grants"},
	{ClockGuard, "clock-guard", "a node whose clock leapt is not counted"},
	{BootClock, "boot-clock", "validity counts suspended time"},
	{SteadyClock, "steady-clock", "validity is not reckoned by the wall clock"},
	{ReleaseByOwner, "release-by-owner", "a release frees its own owner's grant only"},
	{ReleaseUnknown, "release-unknown", "nodes that did not answer are released too"},
	{Tombstones, "tombstones", "a release is final, also for an acquire that is late"},
	{FreshOwner, "fresh-owner", "a retry has an owner of its own"},
	{YieldOwner, "yield-owner", "a try after votes were yielded has an owner of its own"},
	{OwnTokens, "own-tokens", "each user that a lease is passed on to has a token of its own"},
	{StoreSpare, "store-spare", "those tokens are stored on a majority before the lease is won"},
	{BoundedRoundTrip, "bounded-round-trip", "a pause of the process is not taken for a slow network"},
	{HandoffPause, "handoff-pause", "a process that passed a lease on lets others ask before it does again"},
	{ReservationEnds, "reservation-ends", "a key is set aside for a waiter for a short time only"},
	{ExtendOnly, "extend-only", "an extend never creates a grant"},
	{KeepLonger, "keep-longer", "an extend never shortens a grant"},
	{FencedResource, "fenced-resource", "the resource refuses a write with a token below one it has seen"},
	{RoundUp, "round-up", "nodes round TTLs up, holders round validity down"},
}

// Has says that d has all of e.
func (d Defence) Has(e Defence) bool { return d&e == e }

// String names the defences, as ParseDefence reads them.
func (d Defence) String() string {
	var names []string
	for _, def := range defences {
		if d.Has(def.bit) {
			names = append(names, def.name)
		}
	}
	return strings.Join(names, " ")
}

// ParseDefence reads names separated by spaces.
func ParseDefence(text string) (Defence, error) {
	var d Defence
next:
	for name := range strings.FieldsSeq(text) {
		for _, def := range defences {
			if def.name == name {
				d |= def.bit
				continue next
			}
		}
		return 0, fmt.Errorf("sim: there is no defence %q", name)
	}
	return d, nil
}
