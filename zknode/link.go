package zknode

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/quorumlock/redlock"
)

var (
	errClosed  = errors.New("the node is closed")
	errNone    = errors.New("there is no session with ZooKeeper yet")
	errDoubt   = errors.New("there is no connection to ZooKeeper, so the session and its grants are in doubt")
	errCut     = errors.New("the connection was lost")
	errForeign = errors.New("the server's first bytes are not ZooKeeper's")
	errSilent  = errors.New("the server takes connections and does not answer")
)

const (
	// connectWait bounds how long a call without a deadline waits for the first
	// session.
	connectWait = 3 * time.Second

	// firstReplyWait is how long a server may take to give a session. One that
	// is starting takes connections and may never answer on them.
	firstReplyWait = 2 * time.Second

	// pollStep is how often a call looks whether a connection that is not our own
	// has its first session: it has no events to spare for us.
	pollStep = 5 * time.Millisecond
)

// source is where a node has its session from.
type source interface {
	// session waits for the connection's first session. When there was one and
	// it is in doubt, or when it is known why there is none, it fails at once.
	session(ctx context.Context) (*zk.Conn, error)

	// timeout is the session timeout, as the server granted it.
	timeout() time.Duration

	// watch has the next event of a znode that is there, such as its removal, come
	// out of a channel, until it is stopped. It fails with zk.ErrNoNode if it saw
	// that the znode is not there.
	watch(conn *zk.Conn, path string) (events <-chan zk.Event, stop func(), err error)

	// close ends a connection that is the node's own.
	close()
}

// borrowed is a connection of the user's.
type borrowed struct {
	conn     *zk.Conn
	declared time.Duration
	clock    redlock.Clock

	mu   sync.Mutex
	once bool // it had a session
}

func (b *borrowed) timeout() time.Duration { return b.declared }

func (b *borrowed) close() {}

func (b *borrowed) watch(conn *zk.Conn, path string) (<-chan zk.Event, func(), error) {
	_, _, events, err := conn.GetW(path)
	return events, func() {}, err
}

func (b *borrowed) session(caller context.Context) (*zk.Conn, error) {
	ctx, cancel := b.clock.WithTimeout(caller, connectWait)
	defer cancel()
	for {
		has, once := b.look()
		if has {
			return b.conn, nil
		}
		if once {
			return nil, errDoubt
		}
		tick := make(chan struct{})
		timer := b.clock.AfterFunc(pollStep, func() { close(tick) })
		select {
		case <-tick:
		case <-ctx.Done():
			timer.Stop()
			return nil, cmp.Or(caller.Err(), errNone)
		}
	}
}

func (b *borrowed) look() (has, once bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	has = b.conn.State() == zk.StateHasSession
	b.once = b.once || has
	return has, b.once
}

// link is a connection of the node's own, made with its first call. The driver
// keeps it up for ever. What the driver does not do is added between it and the
// network: it is told the timeout that the server granted, does not take another
// server's bytes for a length to allocate, gives up on a server that is silent,
// survives that it cannot write, and ends when it is closed.
type link struct {
	opts  Options
	clock redlock.Clock
	hosts *hosts

	dialling context.Context // ends with the link
	cancel   context.CancelFunc

	mu      sync.Mutex
	conn    *zk.Conn
	drained chan struct{} // closed when the driver has ended
	wire    *wire         // the latest
	up      bool
	once    bool  // there was a session
	failure error // why there is none
	granted time.Duration
	closed  bool
	changed chan struct{} // closed at the next change
	watches watches

	resuming sync.WaitGroup // goroutines that set watches again
}

func newLink(opts Options, clock redlock.Clock) *link {
	l := &link{opts: opts, clock: clock, hosts: &hosts{servers: opts.Servers}, changed: make(chan struct{}), watches: watches{}}
	l.dialling, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *link) timeout() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.granted
}

func (l *link) session(caller context.Context) (*zk.Conn, error) {
	ctx, cancel := l.clock.WithTimeout(caller, connectWait)
	defer cancel()
	for {
		conn, changed, err := l.look()
		if conn != nil || err != nil {
			return conn, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, cmp.Or(caller.Err(), errNone)
		}
	}
}

// look gives the connection if it has a session, or why it has none, or a
// channel that is closed when that changes.
func (l *link) look() (*zk.Conn, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, errClosed
	case l.conn == nil:
		if err := l.connect(); err != nil {
			return nil, nil, err
		}
	case l.up:
		return l.conn, nil, nil
	case l.failure != nil && l.once:
		return nil, nil, fmt.Errorf("%w: %w", errDoubt, l.failure)
	case l.failure != nil:
		return nil, nil, l.failure
	}
	return nil, l.changed, nil
}

// connect starts the driver; l.mu is held.
func (l *link) connect() error {
	conn, events, err := zk.Connect(l.opts.Servers, l.opts.SessionTimeout,
		zk.WithHostProvider(l.hosts),
		zk.WithDialer(l.dial),
		zk.WithEventCallback(l.event),
		zk.WithMaxBufferSize(maxReply),
		zk.WithLogger(silence{}),
		zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	l.conn, l.drained = conn, make(chan struct{})
	go func() {
		defer close(l.drained)
		for range events { // told to l.event already
		}
	}()
	return nil
}

// maxReply bounds what a server's word is taken for. A list of all keys is the
// longest reply there is.
const maxReply = 256 << 20

// event is told of the session and of znodes by the driver.
func (l *link) event(e zk.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Type != zk.EventSession {
		l.notify(e)
		return
	}
	switch e.State {
	case zk.StateHasSession:
		l.up, l.once, l.failure = true, true, nil
		l.resume()
	case zk.StateExpired:
		l.up, l.failure = false, zk.ErrSessionExpired
		l.hosts.Connected() // the server answered: no pause before the next session
	case zk.StateDisconnected:
		l.up = false
		if l.failure == nil {
			l.failure = errCut
		}
	default:
		return
	}
	l.tell()
}

// fail notes why there is no session.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.failure = false, err
	l.tell()
}

func (l *link) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// dial makes a connection for the driver.
func (l *link) dial(network, addr string, timeout time.Duration) (net.Conn, error) {
	w, err := l.newWire(network, addr, timeout)
	if err != nil {
		l.fail(err)
		return nil, err
	}
	return w, nil
}

func (l *link) newWire(network, addr string, timeout time.Duration) (*wire, error) {
	ctx, cancel := l.clock.WithTimeout(l.dialling, timeout)
	defer cancel()
	conn, err := l.secured(ctx, network, addr, timeout)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, link: l}
	w.silent = l.clock.AfterFunc(min(firstReplyWait, l.opts.SessionTimeout/3), func() {
		w.mute.Store(true)
		_ = conn.Close()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire != nil {
		_ = l.wire.Close() // the driver leaves that of an expired session open
	}
	l.wire = w
	if l.closed {
		_ = w.Close()
		return nil, errClosed
	}
	return w, nil
}

// secured connects to a server, with TLS if that is set.
func (l *link) secured(ctx context.Context, network, addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := l.plain(ctx, network, addr, timeout)
	if err != nil || l.opts.TLS == nil {
		return conn, err
	}
	config := l.opts.TLS
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", addr, err)
	}
	return secured, nil
}

func (l *link) plain(ctx context.Context, network, addr string, timeout time.Duration) (net.Conn, error) {
	if l.opts.Dialer != nil {
		return l.opts.Dialer(network, addr, timeout)
	}
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

// close ends the session, and with it all that it holds, and then the driver.
func (l *link) close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed, l.up = true, false
	l.tell()
	conn, drained := l.conn, l.drained
	l.mu.Unlock()
	l.cancel()
	if conn == nil {
		return
	}
	conn.Close()
	l.mu.Lock()
	w := l.wire
	l.mu.Unlock()
	if w != nil {
		_ = w.Close()
	}
	<-drained
	l.resuming.Wait()
}

// wire is one connection to a server. It reads the server's first reply along
// with the driver.
type wire struct {
	net.Conn
	link   *link
	silent redlock.Timer // ends the wait for the first reply
	mute   atomic.Bool   // it did

	first []byte // of the first reply; only the driver's reading goroutine
	done  bool
}

// A reply to the first request has, behind its length, the version of the
// protocol, the timeout granted in milliseconds, the session, and a password.
const (
	firstReplyHead = 4 + 4 + 4
	firstReplyMost = 1 << 10
)

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.done {
		return n, err
	}
	if err != nil {
		if w.mute.Load() {
			err = errSilent
		}
		w.link.fail(fmt.Errorf("no session with %s: %w", w.RemoteAddr(), err))
		return n, err
	}
	w.first = append(w.first, p[:min(n, firstReplyHead)]...)
	if len(w.first) >= 4 && binary.BigEndian.Uint32(w.first) > firstReplyMost {
		err := fmt.Errorf("no session with %s: %w", w.RemoteAddr(), errForeign)
		w.link.fail(err)
		return 0, err
	}
	if len(w.first) >= firstReplyHead {
		w.done = true
		w.silent.Stop()
		w.link.grant(time.Duration(binary.BigEndian.Uint32(w.first[8:])) * time.Millisecond)
	}
	return n, nil
}

// Write implements net.Conn. The driver answers a request that it cannot write
// twice: at once, and with all others when it sees that the connection ended. For
// credentials that it shows again, and for a request that is made while it is closed,
// that is an answer too many, on which it hangs for good. So it is left to find out
// by reading that the connection ended.
func (w *wire) Write(p []byte) (int, error) {
	if _, err := w.Conn.Write(p); err != nil {
		_ = w.Close()
	}
	return len(p), nil
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.silent.Stop()
	return w.Conn.Close()
}

// grant notes the timeout of a session; zero is that of an expired one.
func (l *link) grant(timeout time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if timeout > 0 {
		l.granted = timeout
	}
}

// hosts hands the driver one server after the other. It leaves names to the
// dialler, so that servers may move, and lets the driver pause only when all
// were tried in vain.
type hosts struct {
	mu      sync.Mutex
	servers []string
	next    int
	tried   int // since the last session
}

// Init implements zk.HostProvider. The servers come shuffled.
func (h *hosts) Init(servers []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = servers
	return nil
}

// Len implements zk.HostProvider.
func (h *hosts) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.servers)
}

// Next implements zk.HostProvider.
func (h *hosts) Next() (server string, pause bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pause = h.tried == len(h.servers); pause {
		h.tried = 0
	}
	server = h.servers[h.next]
	h.next = (h.next + 1) % len(h.servers)
	h.tried++
	return server, pause
}

// Connected implements zk.HostProvider.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}

// address adds the port that ZooKeeper has by default.
func address(server string) string {
	if _, _, err := net.SplitHostPort(server); err == nil {
		return server
	}
	return net.JoinHostPort(strings.Trim(server, "[]"), "2181")
}

// silence is a zk.Logger: what the driver has to say is in the errors.
type silence struct{}

// Printf implements zk.Logger.
func (silence) Printf(string, ...any) {}
