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
)

// link is a connection that go-redis has made and signed in to, and what is
// known of the server behind it.
type link struct {
	raw    net.Conn
	reader *bufio.Reader
	conn   *redis.Conn
	client *redis.Client

	mode    string      // what the scripts shall tell of the server
	sealed  bool        // no request of the connection before this one is handled any more
	channel string      // on which waiters can be called; empty if they cannot be
	native  atomic.Bool // acquires may be made without a script
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

	ctx, cancel := s.clock.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	l := &link{client: redis.NewClient(&opts), mode: modeFast}
	l.conn = l.client.Conn()
	err := s.handshake(ctx, l)
	if err == nil {
		l.raw, l.reader = raw, bufio.NewReaderSize(raw, streamBuffer)
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
	for _, script := range []*script{acquireScript, confirmScript, extendScript, releaseScript} {
		// If it may not be loaded, the first call sends it.
		if err := script.Load(ctx, l.conn).Err(); err != nil && !isReply(err) {
			return err
		}
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

// seal has the server drop the connection before this one, in case it has not
// noticed that it broke. Then no acquire can come after a release that was sent
// behind it, whatever happens to connections, and no tombstone is needed. It
// reports false if the server does not let us.
func (s *stream) seal(ctx context.Context, c *redis.Conn, runID string) (bool, error) {
	id, err := c.ClientID(ctx).Result()
	if err == nil {
		before := s.latest
		if before.runID != runID || before.id == 0 {
			// It died with its server, or there was none. Whether we may is of
			// interest all the same: nobody has this id.
			before.id = 1 << 62
		}
		err = c.ClientKillByFilter(ctx, "ID", fmt.Sprint(before.id)).Err()
	}
	if err != nil {
		if isReply(err) {
			return false, nil
		}
		return false, err
	}
	s.latest = connection{runID, id}
	return true, nil
}

// subscribe has the server call waiters over this connection. That takes the
// third version of the protocol, where messages come between answers, and a
// server that goes on taking other commands, as embedded ones do not.
func (s *stream) subscribe(l *link) error {
	if err := l.raw.SetDeadline(s.clock.Wall().Add(callTimeout)); err != nil {
		return err
	}
	if err := l.do("HELLO", "3"); err != nil {
		return ignoreReply(err)
	}
	channel := s.node.wakes + s.channel
	if err := l.do("SUBSCRIBE", channel); err != nil {
		return ignoreReply(err)
	}
	switch err := l.do("TIME"); {
	case err == nil:
		l.channel = s.channel
		return nil
	case ignoreReply(err) != nil:
		return err
	}
	return l.do("UNSUBSCRIBE", channel)
}

// do makes one call without looking at what it returns.
func (l *link) do(command ...string) error {
	request := appendArray(nil, len(command))
	for _, word := range command {
		request = appendBulk(request, word)
	}
	if _, err := l.raw.Write(request); err != nil {
		return err
	}
	return skipReply(l.reader)
}

// ignoreReply forgets an error that the server sent.
func ignoreReply(err error) error {
	var reply replyError
	if errors.As(err, &reply) {
		return nil
	}
	return err
}
