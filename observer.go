package redlock

import (
	"context"
	"log/slog"
	"time"
)

// Observer is told what a Locker does, for metrics, traces and logs.
//
// Observe is called by whatever goroutine just did it, many at once: a caller's, or
// one that reads a server's answers, or the one that ends leases in time. All of
// them wait for it. So it must return quickly and must not panic, and it must not
// call what waits for nodes or for others (Lock, TryLock, Do, Extend, Unlock,
// Inspect, ForceUnlock, Close): let it start a goroutine for that. It may read
// leases: Token, Err, Remaining and the like.
//
// ctx never ends, and has the values of the context that the lock was asked with,
// by the caller who has the lease, or asks for it.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events, and the fields of Event they set beside Kind, Key, and
// but for EventWaiting Owner.
const (
	EventVote     EventKind = iota + 1 // a node answered or failed to: Op, Node, Outcome, Latency, Err
	EventRound                         // an attempt was decided: Latency, Token if won, Err if not, with its caller's context error if that cut it short
	EventWaiting                       // Lock pauses before the next attempt: Latency is the pause, Err the last attempt's
	EventAcquired                      // a lease was handed over: Token, Latency since Lock was called, Remaining
	EventRenewed                       // the validity was extended, or cut short: Token, Remaining
	EventLost                          // the lease is over: Token, Held, Err
	EventReleased                      // a majority confirmed the release, or Err says why not yet; or the lease was passed on, without asking a node: Token, Held, Latency
)

func (k EventKind) String() string {
	switch k {
	case EventVote:
		return "vote"
	case EventRound:
		return "round"
	case EventWaiting:
		return "waiting"
	case EventAcquired:
		return "acquired"
	case EventRenewed:
		return "renewed"
	case EventLost:
		return "lost"
	case EventReleased:
		return "released"
	}
	return "unknown"
}

// Event is one thing that happened. Which fields are set depends on Kind.
type Event struct {
	Kind      EventKind
	Key       string
	Owner     string
	Op        string // "acquire", "confirm", "extend" or "release"
	Node      string
	Outcome   Outcome
	Latency   time.Duration
	Token     uint64
	Remaining time.Duration
	Held      time.Duration
	Err       error
}

// LogObserver writes events to a log: a loss as an error, what failed as a
// warning, a lease's life as information and each vote for debugging.
func LogObserver(logger *slog.Logger) Observer { return logObserver{logger} }

type logObserver struct{ logger *slog.Logger }

func (o logObserver) Observe(ctx context.Context, e Event) {
	level := e.level()
	if !o.logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("key", e.Key))
	if e.Owner != "" {
		attrs = append(attrs, slog.String("owner", e.Owner))
	}
	if e.Kind == EventVote {
		attrs = append(attrs, slog.String("op", e.Op), slog.String("node", e.Node), slog.String("outcome", e.Outcome.String()))
	}
	if e.Token != 0 {
		attrs = append(attrs, slog.Uint64("token", e.Token))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"latency", e.Latency}, {"remaining", e.Remaining}, {"held", e.Held}} {
		if d.value != 0 {
			attrs = append(attrs, slog.Duration(d.name, d.value))
		}
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	o.logger.LogAttrs(ctx, level, "redlock: "+e.Kind.String(), attrs...)
}

func (e *Event) level() slog.Level {
	switch e.Kind {
	case EventLost:
		return slog.LevelError
	case EventReleased:
		if e.Err != nil {
			return slog.LevelWarn
		}
		return slog.LevelInfo
	case EventAcquired:
		return slog.LevelInfo
	case EventVote:
		if e.Outcome == Unknown || e.Outcome == Barred {
			return slog.LevelWarn
		}
	}
	return slog.LevelDebug
}
