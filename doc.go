// Package redlock takes one lock on several independent servers at once and
// holds it for as long as a majority of them agrees: a lock that survives the
// loss of any minority of its servers, and that tells its holder in time when it
// is lost.
//
//	nodes := []redlock.Node{ ... } // see redisnode, memnode and nodeurl
//	locker, err := redlock.New(nodes, redlock.Options{})
//	...
//	err = locker.Do(ctx, "reports/2026-11", func(ctx context.Context, lease *redlock.Lease) error {
//		return store.Write(ctx, report, lease.Token())
//	})
//
// # What is guaranteed
//
// Tokens: every lease has a fencing token larger than that of any earlier lease
// on its key, whatever clocks, networks and processes do, as long as nodes keep
// their counters (see Assumptions). A resource that remembers the largest token
// it has seen, and refuses writes with a smaller one, is never damaged by a
// holder that has been paused past its lease.
//
// Exclusion: while the assumptions hold, no two leases on a key are valid at the
// same instant. Validity is reckoned by the holder's own clock, one that counts
// suspended time, from before the first request was sent, and clock drift is
// taken off it.
//
// Loss is told in time: the lease's context ends no later than its validity, by
// a local timer, also when no packet comes through any more.
//
// Availability: a lock is taken, renewed and released while a majority of nodes
// answers, at the speed of the majority: a slow or dead minority delays nothing.
// A lease heals: nodes that were away when the lock was taken take part later, and
// soon if the lease could not stand the loss of another.
//
// Nothing is left behind: an attempt that fails, is cancelled or is too slow
// gives back what nodes granted, those included whose answer was lost. A release
// is final on the node, also for requests of the same owner that arrive late.
//
// # What is not guaranteed
//
// A lock cannot stop a process that is not running. A holder that pauses (a
// garbage collection, a stopped container, a resumed virtual machine) between
// looking at its lease and writing may write after another has got the lock.
// Only the token stops that write, at the resource.
//
// There is no order among waiters, no reentrancy, and no shared (reader) mode.
// A semaphore cannot be built on a quorum like this one; do not try.
//
// # Assumptions
//
// For exclusion: a node's clock runs faster than the holder's by no more than
// Options.DriftFactor while a lease lasts, and does not leap forward by more
// than a lease's margin. A node that is seen to have leapt is not counted until
// all that it may have expired early has ended; a leap that nobody sees, or one
// of a majority together, is beyond that.
//
// A node that loses its data in a restart says so (adapters see to it) and is
// not counted for MaxTTL; so all clients must agree on MaxTTL. A server that is
// declared durable must really lose nothing.
//
// Nodes fail independently. A replicated server with failover is one node, and a
// failover that forgets a grant is a restart that loses data.
//
// For tokens, where a node lost its counters: clients' wall clocks are within
// MaxTTL of each other, and counters do not outrun them. Hints taken from them, in
// microseconds, put new tokens above lost ones, so the processes together take
// fewer than a million tokens a second of a key's counter: local hand-offs, which
// reserve tokens, are left out where a counter is ahead already. The same covers
// counters of keys that were idle for longer than a node keeps them (days).
// Durable nodes need no such assumption.
//
// # The algorithm
//
// It is Redlock, as described in the Redis documentation under "Distributed
// Locks with Redis", with a fencing token that a majority agrees on in one round
// trip as a rule and two at most, with guards against forgetful and leaping
// nodes, and with renewals that may change the majority but never resurrect a
// lease. docs/design.md has the rules and the argument, and Node the contract of
// a voter.
package redlock
