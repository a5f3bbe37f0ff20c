package redlock

import (
	"context"
	"sync"
	"time"
)

// MaxKeyLength is the length in bytes of the longest key. Keys are byte
// strings: any byte is allowed in them, and only the empty key is refused.
const MaxKeyLength = 512

// MaxFence bounds fences and tokens: they stay below it, so that a server
// whose numbers are doubles (Lua in Redis) still counts exactly.
const MaxFence = 1<<53 - 1

// HintHorizon is how far ahead of its own clock, in microseconds since 1970, a
// node lets a hint carry a counter. It keeps a client with a broken clock from
// using the counters up.
const HintHorizon = 24 * time.Hour

// Node is one voter of a quorum: one server, or one group of servers that
// fails as one. redisnode and memnode implement it; to write another, keep the
// rules below and prove it with nodetest.Run, which has a subtest for each.
//
//  1. Exclusive: at most one owner holds a key on a node at any instant of the
//     node's own clock.
//  2. Long enough: a grant stays in force for at least the TTL asked, from when
//     it was made, unless it is released. Nothing shortens a grant: a later
//     acquire or extend with a smaller TTL leaves the longer one. TTLs are
//     rounded up.
//  3. Idempotent: an acquire by the owner that already holds is granted again
//     with the same fence.
//  4. Fenced: every grant has a fence larger than every fence and every
//     confirmed token the node ever had for that key, and at least the hint,
//     as far as [HintHorizon] allows: max(previous+1, hint).
//  5. Conditional: confirm and extend act only if that very grant, owner and
//     fence both, still stands, and are refused otherwise. Neither creates a
//     grant. A confirm raises the key's counter to the token.
//  6. Final: once a release of an owner was handled, an acquire of that owner
//     that arrives later is refused. A release of what is not held succeeds
//     and frees nobody else's grant.
//  7. Telling: a refused acquire says who holds, for how much longer, and the
//     key's counter.
//  8. Bounded: an error means that the outcome is unknown. A call ends when its
//     context does, whatever the server or the driver does.
//  9. Honest about memory: a node that may have lost grants says with each vote
//     how long ago that was ([Vote.Age]). It is not counted until every grant
//     that it may have lost has expired.
//
// All methods are safe for concurrent use. Requests of one caller may arrive in
// any order, late, or twice.
type Node interface {
	// Name tells the node from the others in errors, events and logs, such as
	// "127.0.0.1:6379/0". It never holds a credential and never changes.
	Name() string

	// Acquire asks for the key. The vote is granted or refused (rules 1 to 4, 6
	// and 7).
	Acquire(ctx context.Context, req AcquireRequest) (Vote, error)

	// Confirm raises the key's counter to a token, if the grant stands (rule 5).
	Confirm(ctx context.Context, req ConfirmRequest) (Vote, error)

	// Extend makes the grant last for at least TTL from now, if it stands
	// (rules 2 and 5).
	Extend(ctx context.Context, req ExtendRequest) (Vote, error)

	// Release gives up whatever the owner holds of the key, for good (rule 6).
	// nil means that it was handled.
	Release(ctx context.Context, req ReleaseRequest) error

	// Inspect reads the key's state and changes nothing. The node leaves
	// NodeState.Node, Err and Latency empty: they are the Locker's to fill.
	Inspect(ctx context.Context, key string) (NodeState, error)
}

// AcquireRequest asks a node for a key.
type AcquireRequest struct {
	Key   string
	Owner string        // 32 hexadecimal digits, fresh for every attempt
	TTL   time.Duration // the grant must last at least so long
	Hint  uint64        // the fence should be at least this large

	// Place, if its Waiter is not empty, asks for what is set aside for that
	// waiter, and a node that refuses to keep a place in the key's queue. See Waker.
	Place Place
}

// Place is a waiter's place in the queue for a key, on the nodes that keep one.
//
// When a release frees the key, the node sets it aside for the waiter that has
// waited for longest, by Since, for as long as that waiter's Hold: until then it
// refuses everybody else's acquires. That ends the waiter's place, and the
// waiter's next acquire ends the setting aside. So a waiter that is gone delays
// the others by one Hold at most. A node may forget the queue when the grant or the
// setting aside expires that it waits for the end of.
type Place struct {
	Waiter string        // WaiterLength hexadecimal digits, of one waiting caller, over all its attempts
	Since  uint64        // when it began to wait, by its wall clock in microseconds since 1970
	Hold   time.Duration // how long a freed key is set aside for it; zero gives the place up, but takes what was set aside
}

// WaiterLength is how long the id of a waiter is.
const WaiterLength = 32

// ConfirmRequest asks a node to store a token under a grant.
type ConfirmRequest struct {
	Key   string
	Owner string
	Fence uint64 // the grant's
	Token uint64 // the counter shall be at least this large
}

// ExtendRequest asks a node to make a grant last longer.
type ExtendRequest struct {
	Key   string
	Owner string
	Fence uint64        // the grant's
	TTL   time.Duration // from when the node handles the request
}

// ReleaseRequest tells a node that an owner is done with a key for ever.
type ReleaseRequest struct {
	Key   string
	Owner string
}

// Vote is a node's answer to an acquire, a confirm or an extend.
type Vote struct {
	Granted bool
	Fence   uint64 // of the grant, when granted

	// Of a refused acquire. Holder is empty and Remaining zero when nobody
	// holds the key (a late acquire of a released owner).
	Holder    string
	Remaining time.Duration

	// Queued says that a refused acquire has its Place in the queue.
	Queued bool

	// Counter is the largest fence or token the node has for the key.
	Counter uint64

	// Clock is the node's own clock as it handled the request; zero if it has
	// none to show. It is compared only with its own earlier readings. A refusal
	// may show what it was in answer to an earlier request; ClockBefore is how long
	// before this one that was sent.
	Clock       time.Time
	ClockBefore time.Duration

	// Incarnation names one life of the node's data, such as the run id of a
	// server process. Two nodes that show the same one are one server. Empty
	// if the node cannot tell.
	Incarnation string

	// Age is the time since the node may last have lost grants, such as the
	// uptime of a server that keeps its data in memory. Zero says that it
	// loses none.
	Age time.Duration
}

// Submitter is a Node that takes calls without keeping a goroutine waiting, so
// that the calls of many callers share a round trip. Every Node works without;
// the rules for one that has it, beside Node's:
//
//  1. Submit returns at once, whatever the network does.
//  2. Done is called exactly once for each call, on any goroutine, maybe before
//     Submit returns; soon after Timeout at the latest, with an error then.
//  3. The server handles the calls in the order in which they were submitted, as
//     far as it handles them: so a release is never overtaken by its acquire. A
//     call that ended with an error is not handled after a later one was.
//  4. The calls that wait are bounded in number. One too many ends with an error.
type Submitter interface {
	Node
	Submit(call *Call)
}

// Op is what a Call asks of a node.
type Op uint8

// The operations of a Call.
const (
	OpAcquire Op = iota + 1
	OpConfirm
	OpExtend
	OpRelease
)

// Call is one request to a Submitter and, once it is done, the answer. It is the
// Submitter's from Submit until Done.
type Call struct {
	Op    Op
	Key   string
	Owner string

	TTL   time.Duration // of an acquire or an extend
	Hint  uint64        // of an acquire; of a release, that of the acquire, if it was the only call before and had no Place
	Place Place         // of an acquire
	Fence uint64        // of a confirm or an extend
	Token uint64        // of a confirm

	// Timeout is after how long from Submit the answer is of no use any more.
	Timeout time.Duration

	// Ordered says of a release that all acquires of the owner were submitted
	// before it, and of an acquire that it is submitted before any release of the
	// owner. Since the server handles them in that order, it need not remember
	// the owner for the sake of Node's rule 6.
	Ordered bool

	// Wake says of a release that the waiter which the key is set aside for shall
	// be called. Without, it is set aside all the same.
	Wake bool

	// Scratch is what the calls of one request to several nodes have in common, and
	// may be nil.
	Scratch *Scratch

	Vote Vote  // of all but a release
	Err  error // the outcome is unknown

	// Answered is when the answer came, on the SystemClock. Zero has the Locker look at
	// its clock itself.
	Answered time.Duration

	// Done is told that Vote and Err are there. It does not block.
	Done func(call *Call)
}

// Scratch is room for Submitters to keep what several of them need for the same
// request to a node each, such as its encoding. Its mutex guards it. It is used for
// one request after another, so what is kept must tell what it is of.
type Scratch struct {
	sync.Mutex
	Kept any
}

// Waker is a Node that keeps a queue for each key (see Place) and can tell a
// waiter that its turn may have come. Both are hints: they may be late, missing
// or spurious, so that waiters ask by themselves now and then.
type Waker interface {
	Node
	// Watch has wake called when the key may have been set aside for the
	// waiter, until stop is called. wake does not block and may be called on
	// any goroutine. stop gives up the waiter's place, at the node's leisure;
	// neither of them waits for the server.
	Watch(key, waiter string, wake func()) (stop func())
}

// NodeState is what a node knows of a key, at one instant now past. It serves
// people and monitoring: a decision made on it is a race.
type NodeState struct {
	Node    string        // the node's name
	Err     error         // why there is no answer; the rest is then empty
	Latency time.Duration // how long the node took

	Held        bool
	Owner       string // if it is not held: what stands in a lock's place and is none
	Fence       uint64
	Remaining   time.Duration // until the node frees the key by itself
	Counter     uint64        // the largest fence or token of the key; 0 if none is known
	Clock       time.Time
	Incarnation string
	Age         time.Duration
}

// Prober is a Node that can describe its server.
type Prober interface {
	// Probe asks the server about itself. It is meant for people and may take
	// several round trips.
	Probe(ctx context.Context) (NodeInfo, error)
}

// NodeInfo describes a node's server.
type NodeInfo struct {
	Kind        string        // such as "redis"
	Version     string        // of the server
	Incarnation string        // see Vote
	Age         time.Duration // see Vote; zero for a durable node
	Durable     bool          // declared to lose no grant in a restart
	Clock       time.Time     // the server's
	Warnings    []string      // settings that make the server a poor voter
}
