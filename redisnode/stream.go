package redisnode

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
)

const (
	// overdueMin is for how long an answer is waited for at least before the
	// connection counts as broken: a slow server is better than none.
	overdueMin = 500 * time.Millisecond

	redialMin = 50 * time.Millisecond
	redialMax = time.Second

	// watchEvery is how often waiting calls are looked at, while there are any.
	watchEvery = 20 * time.Millisecond

	// farAway is the round trip from which on requests are not kept back for the
	// answers to those before them.
	farAway = time.Millisecond

	// maxBatch bounds the calls of one write, and maxFlying the bytes that are not
	// answered. A connection takes so much without delay, also if nobody reads.
	maxBatch  = 256
	maxFlying = 1 << 17

	// smallBatch is of how many bytes the round trip tells of the way rather than
	// of the server's work.
	smallBatch = 2048

	streamBuffer = 1 << 16

	// clockAge is for how long a reading of the server's clock serves where an
	// answer does not look at it. Honest clocks do not drift apart in that time by
	// what would count as a leap.
	clockAge = 500 * time.Millisecond

	// channelLength is how many letters a stream's channel has, five bits each. It is
	// part of every place in a queue, so it is short.
	channelLength = 13

	// modeFast has the scripts tell no more than is needed; see lua/common.lua.
	modeFast = "fast"
)

// waiting is a call that has not been answered.
type waiting struct {
	call *redlock.Call // its caller's again once it was told, which the reader does before it says so
	sent time.Duration // local instant at which it was written, or first seen to wait for that
	how  manner
	size int32 // in bytes, as it was written

	timeout time.Duration // the call's
	instead uint64        // to settle: the fence that it gets, if that is known
}

// manner is how a call is made.
type manner uint8

const (
	undecided manner = iota
	native           // without a script
	byDigest         // of the script
	byText           // of the script, which the server lacks
	toSettle         // after a native acquire whose fence was not above the counter
	counters         // no call: raises those of the native acquires before it
	clock            // no call: TIME, behind the native acquires of a batch
)

// stream carries the calls of a node over one connection, in order.
//
// While requests are under way to a server nearby, further ones are kept back, and
// all leave in one write once those are answered: a crowd's requests share system
// calls on both sides, and a lone request leaves at once. So does a release that
// others may wait for, of a node that is slower than a majority: whom those call
// shall not find the key held on this one. Whoever finds that
// something may be written does it: a caller of submit, or the reader. So the
// stream has two goroutines, from the first call until close: one connects, one
// reads.
type stream struct {
	node   *Node
	client *redis.Client
	clock  redlock.Clock // for timeouts; the node's own may be set by a test

	identity identity
	proxied  bool

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	started  bool
	closed   bool
	watched  bool // the timer is set
	flushing bool // somebody is writing
	urgent   bool // what is in the queue shall not be kept back

	queue  []waiting // submitted, and not written
	batch  []waiting // taken from the queue by whoever writes; changed with mu held
	sent   []waiting // written, and not taken by the reader
	taken  []waiting // by the reader, which changes them for others only with mu held
	next   int       // of those, the one to be answered next
	untold []waiting // natively acquired, of a reader that is gone
	flying int       // bytes written and not answered

	raw      net.Conn      // the latest that was made, perhaps not signed in to yet
	link     *link         // nil while there is no connection
	down     error         // why there is none, once that is known
	overdue  error         // why the connection was given up, if it was
	written  time.Duration // local instant of the latest write
	wrote    int           // bytes of it
	distance distance

	// Of whoever writes.
	leaves []waiting // the batch as it is written, with what is no call among them
	buf    []byte
	raises raises

	ahead  atomic.Int64  // of the local clock, the server's when it was heard last, in nanoseconds
	heard  atomic.Int64  // the local instant of that
	before connections   // the connecting goroutine's, who reads too
	shown  time.Time     // likewise: the server's clock when it was heard last
	since  time.Duration // and the local instant at which it was asked for that

	channel string // on which waiters of this stream are called, behind the node's prefix
	wakesMu sync.Mutex
	wakes   map[string]*watcher // by waiter
}

// distance is how long the way to a server is, by the shortest of the latest round
// trips: the others were kept waiting by something.
type distance struct {
	latest, before time.Duration // the shortest of so many, and of as many before; 0 for none
	n              int
}

func (d *distance) add(roundTrip time.Duration) {
	const many = 256
	if d.n == many {
		d.latest, d.before, d.n = 0, d.latest, 0
	}
	if d.n == 0 || roundTrip < d.latest {
		d.latest = max(1, roundTrip)
	}
	d.n++
}

// far says that requests had better not wait for answers to those before them.
func (d *distance) far() bool {
	shortest := d.latest
	if d.before != 0 && (shortest == 0 || d.before < shortest) {
		shortest = d.before
	}
	return shortest == 0 || shortest >= farAway
}

// connections are those that a server process may not have noticed the end of.
type connections struct {
	runID   string
	ids     []int64
	unknown bool // and others
}

func newStream(n *Node, client *redis.Client, proxied bool) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{
		node: n, client: client, clock: redlock.SystemClock(), proxied: proxied,
		identity: identity{life: &n.life},
		ctx:      ctx, cancel: cancel,
		channel: rand.Text()[:channelLength], wakes: make(map[string]*watcher),
	}
}

func (s *stream) submit(call *redlock.Call) {
	s.mu.Lock()
	if err := s.unable(call.Op); err != nil {
		s.mu.Unlock()
		s.node.finish(call, answer{}, identified{}, err)
		return
	}
	if !s.started {
		s.started = true
		s.done.Go(s.run)
	}
	s.queue = append(s.queue, waiting{call: call, timeout: call.Timeout})
	if !s.watched {
		s.watched = true
		s.clock.AfterFunc(watchEvery, s.watch)
	}
	s.urgent = s.urgent || call.Op == redlock.OpRelease && call.Hint == 0 // it waited itself, so others may
	flush := s.mayFlush()
	s.mu.Unlock()
	if flush {
		s.flush()
	}
}

// unable says why a call cannot be taken. There are no more releases than locks, and
// each that is not made keeps a key for a TTL.
func (s *stream) unable(op redlock.Op) error {
	switch {
	case s.closed:
		return errClosed
	case s.down != nil:
		return fmt.Errorf("no connection, trying again in the background: %w", s.down)
	case op != redlock.OpRelease && len(s.queue)+s.unanswered() >= maxWaiting:
		return errTooMany
	}
	return nil
}

// unanswered counts the calls that were written.
func (s *stream) unanswered() int { return len(s.sent) + len(s.taken) - s.next }

// mayFlush makes the caller the one who writes, if something may be written.
func (s *stream) mayFlush() bool {
	if s.flushing || !s.writable() {
		return false
	}
	s.flushing = true
	return true
}

func (s *stream) writable() bool {
	return s.link != nil && len(s.queue) > 0 &&
		(s.unanswered() == 0 || (s.urgent || s.distance.far()) && s.flying < maxFlying)
}

// flush writes what may be written.
func (s *stream) flush() {
	for {
		s.mu.Lock()
		if !s.writable() {
			s.flushing = false
			s.mu.Unlock()
			return
		}
		to := s.link
		s.urgent = false
		n := min(len(s.queue), maxBatch)
		s.batch = append(s.batch[:0], s.queue[:n]...)
		rest := copy(s.queue, s.queue[n:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
		s.mu.Unlock()

		now := s.clock.Now()
		s.encode(to, now)

		var unsent []waiting
		s.mu.Lock()
		if s.link != to {
			unsent, s.batch = s.batch, nil
		} else {
			s.sent = append(s.sent, s.leaves...)
			s.flying += len(s.buf)
			s.written, s.wrote = now, len(s.buf)
			clear(s.batch)
			s.batch = s.batch[:0]
		}
		s.mu.Unlock()
		if unsent != nil {
			s.end(unsent, errBroken)
		} else if _, err := to.raw.Write(s.buf); err != nil {
			_ = to.raw.Close() // the reader tells
		}
		clear(s.leaves)
		if cap(s.buf) > 16*streamBuffer {
			s.buf = nil
		}
	}
}

// close ends all calls with an error and waits for the goroutines.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	raw := s.raw
	s.mu.Unlock()
	s.cancel()
	if raw != nil {
		_ = raw.Close()
	}
	s.done.Wait()
	s.fail(errClosed)
}

// connecting notes a connection while it is signed in to, for close to end it.
func (s *stream) connecting(raw net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = raw
	return !s.closed
}

// run connects, serves, and connects again, until close.
func (s *stream) run() {
	pause := redialMin
	for s.ctx.Err() == nil {
		err := s.serve(func() { pause = redialMin })
		s.fail(err)
		rested := make(chan struct{})
		timer := s.clock.AfterFunc(pause, func() { close(rested) })
		select {
		case <-s.ctx.Done():
		case <-rested:
		}
		timer.Stop()
		pause = min(2*pause, redialMax)
	}
}

// serve makes a connection and reads from it until it breaks.
func (s *stream) serve(connected func()) error {
	link, err := s.dial()
	if err != nil {
		return err
	}
	defer link.close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.link, s.down, s.distance = link, nil, distance{}
	flush := s.mayFlush()
	s.mu.Unlock()
	connected()
	if flush {
		s.flush()
	}
	if s.client.Options().Addr == sentinelAddr {
		gone := make(chan struct{})
		defer close(gone)
		s.done.Go(func() { s.followMaster(link, gone) })
	}
	return s.read(link)
}

// fail ends all calls that wait; the next ones fail at once until there is a
// connection again. The reader is gone.
func (s *stream) fail(err error) {
	s.mu.Lock()
	switch {
	case s.closed:
		err = errClosed
	case s.overdue != nil:
		err, s.overdue = s.overdue, nil
	}
	ended := slices.Concat(s.untold, s.taken[s.next:], s.sent, s.queue)
	s.untold = nil
	s.taken, s.sent, s.queue, s.next, s.flying = nil, nil, nil, 0, 0
	s.link, s.down = nil, err
	s.mu.Unlock()
	s.end(ended, err)
}

func (s *stream) end(calls []waiting, err error) {
	for _, w := range calls {
		if w.call == noCall {
			continue
		}
		s.node.finish(w.call, answer{}, identified{}, err)
	}
}

// watch breaks a connection whose oldest call is overdue and ends calls that
// were not even written in their time.
func (s *stream) watch() {
	now := s.clock.Now()
	var late []waiting
	s.mu.Lock()
	if oldest := s.oldest(); oldest != nil && s.link != nil && now-oldest.sent > max(oldest.timeout, overdueMin) {
		s.overdue = fmt.Errorf("no answer within %v", now-oldest.sent)
		_ = s.link.raw.Close()
	}
	kept := s.queue[:0]
	for _, w := range s.queue {
		if w.sent == 0 {
			w.sent = now
		}
		if now-w.sent > w.timeout {
			late = append(late, w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	s.watched = len(s.queue)+s.unanswered() > 0 || s.flushing
	if s.watched {
		s.clock.AfterFunc(watchEvery, s.watch)
	}
	s.mu.Unlock()
	for _, w := range late {
		s.end([]waiting{w}, fmt.Errorf("not sent within %v", w.timeout))
	}
}

// oldest is the written call that has waited for longest.
func (s *stream) oldest() *waiting {
	switch {
	case s.next < len(s.taken):
		return &s.taken[s.next]
	case len(s.sent) > 0:
		return &s.sent[0]
	}
	return nil
}
