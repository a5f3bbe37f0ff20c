package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Lease is a lock that is held, from a successful Lock or TryLock until Unlock
// or loss. It is safe for concurrent use.
//
// A lease is renewed in the background until then, unless Options.NoRenew is
// set; one that is forgotten is renewed for ever, unless Options.MaxHold is.
type Lease struct {
	attempt *attempt
	token   uint64
	handed  time.Duration   // when, on the Locker's clock
	caller  context.Context // whose values Context has

	// These are the attempt's to guard. Few users ask for the context, or why the
	// lease that they released has ended.
	ended  error // why, once it has: ErrReleased, ErrClosed, or what wraps ErrLost
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Context is for the work done under the lock. It ends when the lease does: at
// the end of its validity at the latest, by a local timer and whatever the
// network does, with a cause that wraps ErrLost; or by Unlock, with one that
// wraps ErrReleased, or by Close, with one that wraps ErrClosed. It has the
// values of the context given to Lock, but not its cancellation.
//
// No context stops a process that is not running: work that a pause could let
// go on past the lease needs the token.
func (l *Lease) Context() context.Context {
	a := l.attempt
	a.refresh()
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(l.caller))
		if l.ended != nil {
			l.cancel(l.why())
		}
	}
	return l.ctx
}

// Done is closed when the lease ends. It is Context().Done().
func (l *Lease) Done() <-chan struct{} { return l.Context().Done() }

// Err is nil while the lease is held. It looks at the clock itself: after a
// pause of the process it tells of a loss before any timer can. Then it wraps
// ErrLost, ErrReleased or ErrClosed.
func (l *Lease) Err() error {
	l.attempt.refresh()
	l.attempt.mu.Lock()
	defer l.attempt.mu.Unlock()
	return l.why()
}

// why is the error that tells why the lease has ended.
func (l *Lease) why() error {
	if l.ended == ErrReleased || l.ended == ErrClosed { //nolint:errorlint // these very ones
		return fmt.Errorf("redlock: %q: %w", l.attempt.key, l.ended)
	}
	return l.ended
}

// Key is what is locked.
func (l *Lease) Key() string { return l.attempt.key }

// Token is the fencing token: every later lease on the key has a larger one.
// Send it with each write to a resource that remembers the largest token it has
// seen and refuses smaller ones, and a holder that was paused past its lease can
// do no harm. It is below 2^53.
func (l *Lease) Token() uint64 { return l.token }

// Owner is the random id, 32 hexadecimal digits, under which the nodes know this
// lease. It proves ownership to them and changes with every attempt.
func (l *Lease) Owner() string { return l.attempt.owner }

// Until is when the validity ends unless it is renewed, or ended. It is for
// people: it is reckoned by the wall clock, which may be set. Use Remaining.
func (l *Lease) Until() time.Time {
	return l.attempt.group.clock.Wall().Add(l.Remaining())
}

// Remaining is how long the lease is certainly valid yet, without a renewal, by
// a clock that counts suspended time. It is zero or less once the lease ended.
func (l *Lease) Remaining() time.Duration {
	a := l.attempt
	a.refresh()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lease != l {
		return 0 // it was passed on
	}
	return a.validFor()
}

// Extend makes the lease last for at least ttl from now, less the allowance for
// drift; zero means the lock's TTL. It never shortens it, and renewals go on as
// before. It returns once a majority of nodes agreed.
//
// Otherwise the lease stays valid for as long as it was, and Extend returns an
// error wrapping ErrNoQuorum, or ctx's error if that ended first, or one that says
// so if ttl is above Options.MaxTTL, or would take the lease past Options.MaxHold.
// If the lease is over, or ends meanwhile, the error wraps ErrLost, ErrReleased or
// ErrClosed.
func (l *Lease) Extend(ctx context.Context, ttl time.Duration) error {
	a := l.attempt
	if ttl == 0 {
		ttl = a.ttl
	}
	switch {
	case ttl > a.cfg.MaxTTL:
		return fmt.Errorf("redlock: extend %q: TTL %v is above MaxTTL %v: raise MaxTTL on every client of these nodes", a.key, ttl, a.cfg.MaxTTL)
	case ttl < 0 || a.cfg.Margin(ttl) >= ttl:
		return fmt.Errorf("redlock: extend %q: TTL %v leaves no validity: 2ms and the allowance for drift are taken off", a.key, ttl)
	}
	// One at a time: the protocol follows one goal of a user's.
	turn := a.turnToExtend()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return fmt.Errorf("redlock: extend %q: %w", a.key, endedBy(ctx))
	}
	if err := l.Err(); err != nil {
		return err
	}
	done := a.prolong(l, ttl)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("redlock: extend %q: %w", a.key, endedBy(ctx))
	}
}

// Unlock ends the lease and releases the lock. It stops renewal first, ends the
// lease's context, tells all nodes, and returns once a majority confirmed; the
// rest goes on in the background.
//
// If another goroutine waits in Lock for the same key of the same Locker, the
// lease may be passed on to it instead, with a token of its own and without asking
// any node (Options.LocalHandoffs); Unlock returns at once then.
//
// It can be deferred: it does its work also when ctx has ended, takes little
// more than a NodeTimeout at most, and a second Unlock returns what the first
// did. It returns an error wrapping ErrLost if the lease had been lost before, and
// one wrapping ErrClosed if Close had ended it: either means that the work may not
// have been alone. It returns one wrapping ErrNoQuorum if too few nodes confirmed:
// the key is then free after its TTL at the latest.
func (l *Lease) Unlock(context.Context) error {
	end := l.attempt.unlock(l)
	if err := l.cutShort(); err != nil {
		return err
	}
	if end == nil {
		return nil // it was passed on
	}
	end.done.Wait()
	return end.err
}

// cutShort is why the lease ended, if its user did not end it.
func (l *Lease) cutShort() error {
	l.attempt.mu.Lock()
	defer l.attempt.mu.Unlock()
	if l.ended == ErrReleased { //nolint:errorlint // this very one
		return nil
	}
	return l.why()
}

// giveUp unlocks without waiting.
func (l *Lease) giveUp() { l.attempt.unlock(l) }

// turnToExtend is what one Extend at a time holds.
func (a *attempt) turnToExtend() chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.extending == nil {
		a.extending = make(chan struct{}, 1)
	}
	return a.extending
}

// validFor is the time from now to the end of validity, negative once it is over.
func (a *attempt) validFor() time.Duration {
	return protocol.Instant(a.until.Load()).Sub(a.group.now())
}

// refresh lets the protocol see the time if validity has run out: a timer may
// be late, after a pause of the process or a suspend of the machine.
func (a *attempt) refresh() {
	if !a.over.Load() && a.validFor() <= 0 {
		a.step(protocol.Input{Kind: protocol.Tick})
	}
}
