package redlock

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// waiting is one call of Lock that asks the nodes until it wins.
type waiting struct {
	locker *Locker
	key    string
	waiter protocol.Waiter
	last   error    // of the latest attempt that was decided
	drawn  [24]byte // with the latest attempt: its owner, and random
	random uint64
	place  Place // in the nodes' queues, once it has asked for one
	stops  []func()

	mu    sync.Mutex
	woken uint64        // nodes that called and were not listened to yet
	call  chan struct{} // has room for one
}

func (l *Locker) newWaiting(key string) *waiting {
	w := l.group.waits.Get().(*waiting)
	w.locker, w.key, w.waiter = l, key, protocol.Waiter{Config: &l.cfg}
	return w
}

// gaveUp is the error of a caller whose context ended: why it waited, and that.
func (w *waiting) gaveUp(ctx context.Context) error {
	if w.last == nil {
		return endedWaiting(ctx, w.locker.notAsked(w.key))
	}
	return endedWaiting(ctx, w.last)
}

// queue asks the nodes that can to call when it is this waiter's turn.
func (w *waiting) queue() error {
	if w.place.Waiter != "" {
		return nil
	}
	g := w.locker.group
	var id [16]byte
	if _, err := io.ReadFull(g.random, id[:]); err != nil {
		return fmt.Errorf("redlock: reading random bytes for a waiter's id: %w", err)
	}
	cfg := w.waiter.Config
	w.place = Place{
		Waiter: hex.EncodeToString(id[:]),
		Since:  uint64(max(1, g.clock.Wall().UnixMicro())),
		Hold:   cfg.Hold(),
	}
	w.call = make(chan struct{}, 1)
	for i, n := range g.nodes {
		if waker, ok := n.(Waker); ok {
			w.stops = append(w.stops, waker.Watch(w.key, w.place.Waiter, func() { w.wake(i) }))
		}
	}
	return nil
}

// wake is called by nodes, on any goroutine.
func (w *waiting) wake(node int) {
	w.mu.Lock()
	w.woken |= 1 << node
	w.mu.Unlock()
	select {
	case w.call <- struct{}{}:
	default:
	}
}

// listen tells the waiter of the calls that came, and gives after how long the
// next attempt shall begin at the latest; negative if none came.
func (w *waiting) listen() time.Duration {
	w.mu.Lock()
	woken := w.woken
	w.woken = 0
	w.mu.Unlock()
	wait := time.Duration(-1)
	for ; woken != 0; woken &= woken - 1 {
		wait = w.waiter.Woken(bits.TrailingZeros64(woken))
	}
	return wait
}

// begin readies for an attempt and says whether it shall ask for places.
func (w *waiting) begin() (bool, error) {
	w.listen()
	queue := w.waiter.Begin(w.locker.group.lines.isContended(w.key, w.locker.group.now()))
	if !queue {
		return false, nil
	}
	return true, w.queue()
}

// pause waits before the next attempt.
func (w *waiting) pause(ctx context.Context, d time.Duration) error {
	g := w.locker.group
	end := g.clock.Now() + d
	for {
		now := g.clock.Now()
		if called := w.listen(); called >= 0 {
			end = min(end, now+called)
		}
		left := end - now
		switch {
		case ctx.Err() != nil:
			return w.gaveUp(ctx)
		case left <= 0:
			return nil
		}
		over := make(chan struct{})
		timer := g.clock.AfterFunc(left, func() { close(over) })
		select {
		case <-over:
			return nil
		case <-w.call:
			timer.Stop()
		case <-g.closing:
			timer.Stop()
			return fmt.Errorf("redlock: %w", ErrClosed)
		case <-ctx.Done():
			timer.Stop()
			return w.gaveUp(ctx)
		}
	}
}

// end gives up the places. One who never had any leaves nothing behind that others
// know of, and can be used again.
func (w *waiting) end() {
	for _, stop := range w.stops {
		stop()
	}
	if w.call == nil {
		w.last = nil
		w.locker.group.waits.Put(w)
	}
}
