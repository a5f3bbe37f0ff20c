// Package protocol is the lock protocol as pure state machines: what is asked
// of which node, when a majority agrees, how long the holder may rely on it,
// which fencing token it gets, and when to give up, renew, release or retry.
//
// An [Attempt] is one owner's life: it acquires a key, holds it, and gives it
// back. Waiter decides whether and when a failed attempt is followed by
// another. Guards says which nodes' answers may be counted at all.
//
// There is no clock, goroutine, random source, context, log or lock in here.
// Instants and random choices come in as arguments, requests and timers go out
// as values; equal inputs give equal outputs, on every machine. So the
// goroutines of the Locker, a simulator and an exhaustive explorer run the very
// same code.
//
// The protocol is Redlock (https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/)
// with a fencing token agreed on by a majority; docs/design.md has the rules and
// the proof that tokens grow.
package protocol
