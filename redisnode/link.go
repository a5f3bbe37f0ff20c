package redisnode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/quorumlock/redlock"
)

// link is a connection that go-redis has made and signed in to, and what is
// known of the server behind it.
type link struct {
	raw    net.Conn
	reader *bufio.Reader // of what Read gives
	conn   *redis.Conn
	client *redis.Client

	clock, nodes redlock.Clock // the stream's and the node's
	at, atNode   time.Duration // local instants on these, at which the latest bytes came

	mode    string      // what the scripts shall tell of the server
	sealed  bool        // no request of the connection before this one is handled any more
	channel string      // on which waiters can be called; empty if they cannot be
	native  atomic.Bool // acquires may be made without a script
}

// Read notes when something came. An answer may have begun to come long before its
// end did, and counts as answered only then.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.raw.Read(p)
	l.at, l.atNode = l.clock.Now(), l.nodes.Now()
	return n, err
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
		if err == nil && !s.connecting(conn) {
			_ = conn.Close()
			return nil, errClosed
		}
		raw = conn
		return conn, err
	}
	opts.PoolSize, opts.MinIdleConns, opts.PipelinePoolSize = 2, 0, -1 // a pool of one would go on dialling by itself
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.Protocol, opts.DisableIdentity, opts.ContextTimeoutEnabled = 2, true, true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	ctx, cancel := s.clock.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	l := &link{client: redis.NewClient(&opts), mode: modeFast, clock: s.clock, nodes: s.node.clock}
	l.conn = l.client.Conn()
	err := s.handshake(ctx, l)
	if err == nil {
		l.raw, l.reader = raw, bufio.NewReaderSize(l, streamBuffer)
		if tcp, ok := raw.(interface{ SetWriteBuffer(bytes int) error }); ok {
			_ = tcp.SetWriteBuffer(2 * maxFlying) // a write shall not wait for a server that does not read
		}
		err = s.subscribe(l)
	}
	if err != nil {
		_ = l.conn.Close()
		_ = l.client.Close()
		return nil, err
	}
	return l, raw.SetDeadline(time.Time{})
}

// handshake learns who the server is and gives it the scripts.
func (s *stream) handshake(ctx context.Context, l *link) error {
	who, version, err := s.introduce(ctx, l.conn)
	if err != nil {
		return err
	}
	if s.proxied {
		l.mode = s.node.mode()
	} else if l.sealed, err = s.seal(ctx, l.conn, who.runID); err != nil {
		return err
	}
	l.native.Store(l.sealed && version >= 7)
	if err := loadScripts(ctx, l.conn); err != nil {
		return err
	}
	sent := s.clock.Now()
	at, err := l.conn.Time(ctx).Result()
	if err == nil {
		s.hear(at, sent, s.clock.Now())
	}
	if err != nil && !isReply(err) {
		return err
	}
	return nil
}

// loadScripts gives the server the scripts that it lacks. If it may not be given one, the
// first call sends it.
func loadScripts(ctx context.Context, c *redis.Conn) error {
	scripts := []*script{acquireScript, confirmScript, extendScript, releaseScript}
	digests := make([]string, len(scripts))
	for i, script := range scripts {
		digests[i] = script.digest
	}
	has, err := c.ScriptExists(ctx, digests...).Result()
	if err != nil && !isReply(err) {
		return err
	}
	for i, script := range scripts {
		if len(has) == len(scripts) && has[i] {
			continue
		}
		if err := c.ScriptLoad(ctx, script.source).Err(); err != nil && !isReply(err) {
			return err
		}
	}
	return nil
}

// introduce asks the server who it is, and the major version it has; zero if it
// does not tell.
func (s *stream) introduce(ctx context.Context, c *redis.Conn) (who server, version int, err error) {
	sent := s.node.clock.Now()
	text, err := c.Info(ctx, "server").Result()
	who = server{uptime: -1}
	switch {
	case err == nil:
		facts := parseInfo(text)
		who = server{facts["run_id"], uptimeOf(facts)}
		if who.uptime < 0 && !s.node.durable {
			return who, 0, replyError("NOUPTIME INFO shows no uptime")
		}
		major, _, _ := strings.Cut(facts["redis_version"], ".")
		version, _ = strconv.Atoi(major)
	case !isReply(err):
		return who, 0, err
	case !s.node.durable && !strings.Contains(err.Error(), "not supported"):
		return who, 0, fmt.Errorf("NOINFO %w", err)
	}
	s.identity.learn(who, 0, sent, s.node.clock.Now())
	return who, version, nil
}

// seal has the server drop the connections before this one, in case it has not
// noticed that they broke. Then no acquire can come after a release that was sent
// behind it, whatever happens to connections, and no tombstone is needed. It
// reports false if the server does not let us.
func (s *stream) seal(ctx context.Context, c *redis.Conn, runID string) (bool, error) {
	if s.before.runID != runID {
		s.before = connections{runID: runID} // the others died with their server
	}
	before := &s.before
	id, err := c.ClientID(ctx).Result()
	if err != nil || runID == "" {
		before.unknown = true // also whether the ids are of this process
		return false, ignoreReply(err)
	}
	// Whether we may is of interest also if there was none: nobody has such an id.
	for _, other := range append(before.ids, 1<<62) {
		if err = c.ClientKillByFilter(ctx, "ID", fmt.Sprint(other)).Err(); err != nil {
			break
		}
	}
	switch {
	case err == nil:
		before.ids = append(before.ids[:0], id)
	case len(before.ids) < maxBefore:
		before.ids = append(before.ids, id)
	default:
		before.unknown = true
	}
	return err == nil && !before.unknown, ignoreReply(err)
}

// maxBefore is how many connections a stream remembers that may be left.
const maxBefore = 16

// subscribe has the server call waiters over this connection. That takes the
// third version of the protocol, where messages come between answers, and a
// server that goes on taking other commands, as embedded ones do not.
func (s *stream) subscribe(l *link) error {
	if err := l.raw.SetDeadline(s.clock.Wall().Add(callTimeout)); err != nil {
		return err
	}
	if err := s.do(l, "HELLO", "3"); err != nil {
		return ignoreReply(err)
	}
	channel := s.node.wakes + s.channel
	if err := s.do(l, "SUBSCRIBE", channel); err != nil {
		return ignoreReply(err)
	}
	switch err := s.do(l, "TIME"); {
	case err == nil:
		l.channel = s.channel
		return nil
	case ignoreReply(err) != nil:
		return err
	}
	return s.do(l, "UNSUBSCRIBE", channel)
}

// do makes one call without looking at what it returns. Waiters of the connection
// before may be called meanwhile.
func (s *stream) do(l *link, command ...string) error {
	request := appendArray(nil, len(command))
	for _, word := range command {
		request = appendBulk(request, word)
	}
	if _, err := l.raw.Write(request); err != nil {
		return err
	}
	for {
		first, err := l.reader.Peek(1)
		if err != nil {
			return err
		}
		if first[0] != '>' {
			return skipReply(l.reader)
		}
		message, is, err := readPush(l.reader)
		if err != nil || !is {
			return err // or it is what answers SUBSCRIBE and UNSUBSCRIBE
		}
		s.called(message, 0)
	}
}

// ignoreReply forgets an error that the server sent.
func ignoreReply(err error) error {
	var reply replyError
	if errors.As(err, &reply) || err != nil && isReply(err) {
		return nil
	}
	return err
}

// masterEvery is how often Sentinels are asked which server is the master.
const masterEvery = time.Second

// followMaster breaks a connection, which go-redis does not know of, once the client's
// Sentinels name another server than it goes to. They do not always succeed in
// demoting the old master: then it would go on granting what the new one grants too.
// It ends with the connection.
func (s *stream) followMaster(l *link, gone <-chan struct{}) {
	for {
		rested := make(chan struct{})
		timer := s.clock.AfterFunc(masterEvery, func() { close(rested) })
		select {
		case <-gone:
			timer.Stop()
			return
		case <-rested:
		}
		ctx, cancel := s.clock.WithTimeout(s.ctx, masterEvery)
		opts := s.client.Options()
		to, err := opts.Dialer(ctx, opts.Network, opts.Addr)
		cancel()
		if err != nil {
			continue // nobody knows better
		}
		moved := to.RemoteAddr().String() != l.raw.RemoteAddr().String()
		_ = to.Close()
		if moved {
			_ = l.raw.Close()
			return
		}
	}
}

// sentinelAddr is the address that go-redis gives clients which ask Sentinels.
const sentinelAddr = "FailoverClient"
