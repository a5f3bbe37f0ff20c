package redisnode

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"runtime"
	"strings"
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

	streamBuffer = 1 << 16
)

// waiting is a call that has not been answered.
type waiting struct {
	call *redlock.Call
	sent time.Duration // local instant of its submission
	how  manner
	hint uint64 // of a native acquire, as it was sent
}

// manner is how a call is made.
type manner uint8

const (
	undecided manner = iota
	native           // without a script
	byDigest         // of the script
	byText           // of the script, which the server lacks
	toSettle         // after a native acquire whose fence was not above the counter
)

// stream carries the calls of a node over one connection, in order. Calls that
// come while a write is under way go out together in the next one.
//
// Three goroutines serve it, from the first call until close: one connects and
// then writes, one reads, and a timer looks for overdue calls.
type stream struct {
	node   *Node
	client *redis.Client
	clock  redlock.Clock // for timeouts; the node's own may be set by a test

	identity identity
	proxied  bool

	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{} // there is something to write, or the connection broke

	mu      sync.Mutex
	started bool
	closed  bool
	watched bool      // the timer is set
	queue   []waiting // in the order of submission
	written int       // so many of the queue await an answer
	conn    net.Conn  // nil while there is none
	down    error     // why there is none, once that is known
	overdue error     // why the connection was given up, if it was

	ahead  atomic.Int64 // of the local clock, the server's when it was heard last, in nanoseconds
	latest connection   // the connecting goroutine's

	channel string // on which waiters of this stream are called, behind the node's prefix
	wakesMu sync.Mutex
	wakes   map[string]func() // by waiter
}

// connection is how the server knows one.
type connection struct {
	runID string
	id    int64
}

func newStream(n *Node, client *redis.Client, proxied bool) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{
		node: n, client: client, clock: redlock.SystemClock(), proxied: proxied,
		identity: identity{life: &n.life},
		ctx:      ctx, cancel: cancel, wake: make(chan struct{}, 1),
		channel: rand.Text(), wakes: make(map[string]func()),
	}
}

func (s *stream) submit(call *redlock.Call) {
	s.mu.Lock()
	if err := s.unable(); err != nil {
		s.mu.Unlock()
		s.node.finish(call, answer{}, identified{}, err)
		return
	}
	if !s.started {
		s.started = true
		s.done.Go(s.run)
	}
	s.queue = append(s.queue, waiting{call: call, sent: s.clock.Now()})
	if !s.watched {
		s.watched = true
		s.clock.AfterFunc(watchEvery, s.watch)
	}
	s.mu.Unlock()
	s.rouse()
}

// unable says why a call cannot be taken.
func (s *stream) unable() error {
	switch {
	case s.closed:
		return errClosed
	case s.down != nil:
		return fmt.Errorf("no connection, trying again in the background: %w", s.down)
	case len(s.queue) >= maxWaiting:
		return errTooMany
	}
	return nil
}

func (s *stream) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close ends all calls with an error and waits for the goroutines.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	conn := s.conn
	s.mu.Unlock()
	s.cancel()
	if conn != nil {
		_ = conn.Close()
	}
	s.done.Wait()
	s.fail(errClosed)
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

// serve makes a connection and writes to it until it breaks.
func (s *stream) serve(connected func()) error {
	link, err := s.dial()
	if err != nil {
		return err
	}
	defer link.close()
	s.mu.Lock()
	s.conn, s.down = link.raw, nil
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errClosed
	}
	connected()

	broken := make(chan error, 1)
	go func() {
		broken <- s.read(link)
		_ = link.raw.Close()
	}()
	err = s.write(link, broken)
	_ = link.raw.Close()
	if why := <-broken; why != nil && err == nil {
		err = why
	}
	return err
}

// write sends what is submitted until the connection breaks.
func (s *stream) write(to *link, broken chan error) error {
	var buf []byte
	for {
		select {
		case err := <-broken:
			broken <- err
			return err
		case <-s.wake:
		}
		// Others are about to submit: one write for all of them is much cheaper.
		runtime.Gosched()
		s.mu.Lock()
		buf = buf[:0]
		for i := s.written; i < len(s.queue); i++ {
			w := &s.queue[i]
			if w.how == undecided && to.native.Load() && isNative(w.call) {
				now := s.clock.Now() + time.Duration(s.ahead.Load())
				w.how, w.hint = native, fenceHint(w.call, now)
				buf = s.node.appendNative(buf, w.call, w.hint, now)
				continue
			}
			w.how = max(w.how, byDigest)
			buf = s.node.appendCall(buf, w.call, w.how, to)
		}
		s.written = len(s.queue)
		s.mu.Unlock()
		if len(buf) == 0 {
			continue
		}
		if err := to.raw.SetWriteDeadline(s.clock.Wall().Add(callTimeout)); err != nil {
			return err
		}
		if _, err := to.raw.Write(buf); err != nil {
			return err
		}
		if cap(buf) > 16*streamBuffer {
			buf = nil
		}
	}
}

// read takes the answers in until the connection breaks.
func (s *stream) read(to *link) error {
	r := to.reader
	for {
		first, err := r.Peek(1)
		if err != nil {
			return err
		}
		if first[0] == '>' {
			message, err := readPush(r)
			if err != nil {
				return err
			}
			s.called(message)
			continue
		}
		s.mu.Lock()
		if s.written == 0 {
			s.mu.Unlock()
			return fmt.Errorf("%w: it answers what was not asked", errNotRedis)
		}
		w := s.queue[0]
		s.mu.Unlock()

		a, next, err := s.answer(r, w, to)
		if _, replied := err.(replyError); err != nil && !replied {
			return err
		}
		s.mu.Lock()
		s.queue[0] = waiting{}
		s.queue = s.queue[1:]
		s.written--
		again := next != w.how
		if again {
			w.how = next
			s.queue = append(s.queue, w)
		}
		s.mu.Unlock()
		if again {
			s.rouse()
			continue
		}
		s.remaining(&a)
		s.node.finish(w.call, a, s.identify(w, a), err)
	}
}

// answer reads the answer to a call, and says how it must be made again if that
// was not all.
func (s *stream) answer(r *bufio.Reader, w waiting, to *link) (a answer, next manner, err error) {
	if w.how != native {
		a, err = readAnswer(r, w.call.Owner)
		if _, replied := err.(replyError); replied && w.how == byDigest && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return a, byText, err // it did nothing
		}
		return a, w.how, err
	}
	n, err := readNative(r, w.hint)
	switch {
	case err != nil:
		return a, native, err
	case n.refused != nil:
		// It did nothing: all of a transaction is refused if the server does not
		// know a part of it, or this user may not do one.
		to.native.Store(false)
		return a, byDigest, nil
	case n.failed != nil || n.owner == w.call.Owner:
		return a, byDigest, nil // the script finds out what is wrong
	case n.yes && !n.raised:
		return a, toSettle, nil
	}
	return n.answer, native, nil
}

// remaining works out what is left of a lock of which the server told only when
// it ends, by what its clock was when it was heard last.
func (s *stream) remaining(a *answer) {
	now := s.clock.Now()
	if !a.clock.IsZero() {
		s.ahead.Store(a.clock.UnixNano() - int64(now))
	}
	if a.end != 0 {
		a.left = max(time.Millisecond, time.Duration(a.end)*time.Microsecond-time.Duration(s.ahead.Load())-now)
	}
}

func (s *stream) identify(w waiting, a answer) identified {
	now := s.node.clock.Now()
	sent := now - (s.clock.Now() - w.sent)
	if a.server.uptime >= 0 || a.server.runID != "" {
		return s.identity.learn(a.server, 0, sent, now)
	}
	return s.identity.onStream(sent, now)
}

// fail ends all calls that wait; the next ones fail at once until there is a
// connection again.
func (s *stream) fail(err error) {
	s.mu.Lock()
	switch {
	case s.closed:
		err = errClosed
	case s.overdue != nil:
		err, s.overdue = s.overdue, nil
	}
	ended := s.queue
	s.queue, s.written, s.conn, s.down = nil, 0, nil, err
	s.mu.Unlock()
	for _, w := range ended {
		s.node.finish(w.call, answer{}, identified{}, err)
	}
}

// watch breaks a connection whose oldest call is overdue and ends calls that
// were not even written in their time.
func (s *stream) watch() {
	now := s.clock.Now()
	var late []waiting
	s.mu.Lock()
	if s.written > 0 && s.conn != nil {
		oldest := s.queue[0]
		if now-oldest.sent > max(oldest.call.Timeout, overdueMin) {
			s.overdue = fmt.Errorf("no answer within %v", now-oldest.sent)
			_ = s.conn.Close()
		}
	}
	kept := s.queue[:s.written]
	for _, w := range s.queue[s.written:] {
		if now-w.sent > w.call.Timeout {
			late = append(late, w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	s.watched = len(s.queue) > 0
	if s.watched {
		s.clock.AfterFunc(watchEvery, s.watch)
	}
	s.mu.Unlock()
	for _, w := range late {
		s.node.finish(w.call, answer{}, identified{}, fmt.Errorf("not sent within %v", w.call.Timeout))
	}
}
