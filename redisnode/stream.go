package redisnode

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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
	eval bool          // the server lacks the script
}

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
}

func newStream(n *Node, client *redis.Client, proxied bool) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{
		node: n, client: client, clock: redlock.SystemClock(), proxied: proxied,
		identity: identity{life: &n.life},
		ctx:      ctx, cancel: cancel, wake: make(chan struct{}, 1),
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
		time.AfterFunc(watchEvery, s.watch)
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
		select {
		case <-s.ctx.Done():
		case <-time.After(pause):
		}
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
		broken <- s.read(link.raw)
		_ = link.raw.Close()
	}()
	err = s.write(link.raw, broken)
	_ = link.raw.Close()
	if why := <-broken; why != nil && err == nil {
		err = why
	}
	return err
}

// write sends what is submitted until the connection breaks.
func (s *stream) write(conn net.Conn, broken chan error) error {
	var buf []byte
	mode := ""
	if s.proxied {
		mode = s.node.mode()
	}
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
		for _, w := range s.queue[s.written:] {
			buf = s.node.appendCall(buf, w.call, w.eval, mode)
		}
		s.written = len(s.queue)
		s.mu.Unlock()
		if len(buf) == 0 {
			continue
		}
		if err := conn.SetWriteDeadline(time.Now().Add(callTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write(buf); err != nil {
			return err
		}
		if cap(buf) > 16*streamBuffer {
			buf = nil
		}
	}
}

// read takes the answers in until the connection breaks.
func (s *stream) read(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, streamBuffer)
	for {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		s.mu.Lock()
		if s.written == 0 {
			s.mu.Unlock()
			return fmt.Errorf("%w: it answers what was not asked", errNotRedis)
		}
		w := s.queue[0]
		s.mu.Unlock()

		a, err := readAnswer(r, w.call.Owner)
		_, replied := err.(replyError)
		if err != nil && !replied {
			return err
		}
		again := replied && !w.eval && strings.HasPrefix(err.Error(), "NOSCRIPT")
		s.mu.Lock()
		s.queue[0] = waiting{}
		s.queue = s.queue[1:]
		s.written--
		if again {
			// It did nothing. Later calls may overtake it, and the tombstone of a
			// release bars it then.
			w.eval = true
			s.queue = append(s.queue, w)
		}
		s.mu.Unlock()
		if again {
			s.rouse()
			continue
		}
		s.node.finish(w.call, a, s.identify(w, a, err), err)
	}
}

func (s *stream) identify(w waiting, a answer, err error) identified {
	now := s.node.clock.Now()
	sent := now - (s.clock.Now() - w.sent)
	if s.proxied && err == nil && w.call.Op != redlock.OpRelease {
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
		time.AfterFunc(watchEvery, s.watch)
	}
	s.mu.Unlock()
	for _, w := range late {
		s.node.finish(w.call, answer{}, identified{}, fmt.Errorf("not sent within %v", w.call.Timeout))
	}
}

// link is a connection that go-redis has made and signed in to.
type link struct {
	raw    net.Conn
	conn   *redis.Conn
	client *redis.Client
}

func (l *link) close() {
	_ = l.raw.Close()
	_ = l.conn.Close()
	_ = l.client.Close()
}

// dial has go-redis connect, so that credentials, databases, TLS and Sentinel are
// its business, and takes the connection over.
func (s *stream) dial() (*link, error) {
	var raw net.Conn
	opts := *s.client.Options()
	dialer := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer(ctx, network, addr)
		raw = conn
		return conn, err
	}
	opts.PoolSize, opts.MinIdleConns, opts.PipelinePoolSize = 1, 0, -1
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.Protocol, opts.DisableIdentity, opts.ContextTimeoutEnabled = 2, true, true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	l := &link{client: redis.NewClient(&opts)}
	l.conn = l.client.Conn()
	if err := s.handshake(ctx, l.conn); err != nil {
		_ = l.conn.Close()
		_ = l.client.Close()
		return nil, err
	}
	l.raw = raw
	return l, raw.SetDeadline(time.Time{})
}

// handshake learns who the server is and gives it the scripts.
func (s *stream) handshake(ctx context.Context, c *redis.Conn) error {
	sent := s.node.clock.Now()
	text, err := c.Info(ctx, "server").Result()
	who := server{uptime: -1}
	switch {
	case err == nil:
		facts := parseInfo(text)
		who = server{facts["run_id"], uptimeOf(facts)}
		if who.uptime < 0 && !s.node.durable {
			return replyError("NOUPTIME INFO shows no uptime")
		}
	case !isReply(err):
		return err
	case !s.node.durable && !strings.Contains(err.Error(), "not supported"):
		return fmt.Errorf("NOINFO %w", err)
	}
	s.identity.learn(who, 0, sent, s.node.clock.Now())
	for _, script := range []*script{acquireScript, confirmScript, extendScript, releaseScript} {
		// If it may not be loaded, the first call sends it.
		if err := script.Load(ctx, c).Err(); err != nil && !isReply(err) {
			return err
		}
	}
	return nil
}
