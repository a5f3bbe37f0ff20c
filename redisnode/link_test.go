package redisnode

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
)

// pipe gives a stream with a connection to the test itself.
func pipe(t *testing.T) (s *stream, l *link, server net.Conn, clock *redlock.ManualClock) {
	clock = redlock.NewManualClock(time.Now())
	n := New(nil, Options{Addr: "127.0.0.1:1", Clock: clock})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	n.stream.clock = clock
	client, server := net.Pipe()
	t.Cleanup(func() { _ = server.Close() })
	l = &link{raw: client, clock: clock, nodes: clock}
	l.reader = bufio.NewReader(l)
	return n.stream, l, server, clock
}

// Half of an answer may come long before the rest, and requests leave meanwhile. What the
// rest says of the server's clock is as of then, or that would seem to have leapt.
func TestAnAnswerIsAsOldAsItsEnd(t *testing.T) {
	s, l, server, clock := pipe(t)
	begun := clock.Now()
	done := make(chan time.Duration, 1)
	s.sent = []waiting{{how: byDigest, sent: begun, call: &redlock.Call{Op: redlock.OpExtend, Key: "k", Owner: "o", Timeout: time.Minute,
		Done: func(c *redlock.Call) { done <- c.Answered }}}}
	ended := make(chan error, 1)
	go func() { ended <- s.read(l) }()
	write := func(text string) {
		_, err := server.Write([]byte(text))
		require.NoError(t, err)
	}
	write("*4\r\n:1\r\n:7")
	clock.Advance(time.Second)
	write("\r\n:7\r\n:1700000000000000\r\n")
	require.Equal(t, begun+time.Second, <-done)
	require.NoError(t, server.Close())
	require.Error(t, <-ended)
}

// A waiter of the connection before may be called before the new one is ready.
func TestACallWhileSubscribing(t *testing.T) {
	s, l, server, _ := pipe(t)
	waiter := "00000000000000000000000000000007"
	called := make(chan struct{}, 1)
	defer s.node.Watch("k", waiter, func() { called <- struct{}{} })()
	go func() {
		buf := make([]byte, 1024)
		for _, answer := range []string{
			"%0\r\n",
			">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
			">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$0\r\n\r\n" +
				">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$43\r\n" + waiter + "redlock:{k}\r\n" + "*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
		} {
			if _, err := server.Read(buf); err != nil {
				return
			}
			if _, err := server.Write([]byte(answer)); err != nil {
				return
			}
		}
	}()
	require.NoError(t, s.subscribe(l))
	require.Equal(t, s.channel, l.channel)
	require.Zero(t, l.reader.Buffered())
	<-called
}

// A connection that the server would not let us seal may be left when the next one is
// made, and has to go then.
func TestUnsealedConnectionsAreRemembered(t *testing.T) {
	addr := testserver.StartRedis(t).Addr()
	ctx := t.Context()
	admin := redis.NewClient(&redis.Options{Addr: addr})
	defer admin.Close()
	rights := func(rules ...any) {
		t.Helper()
		require.NoError(t, admin.Do(ctx, append([]any{"ACL", "SETUSER", "locks"}, rules...)...).Err())
	}
	rights("on", ">secret", "+ping", "+client|id")
	c := redis.NewClient(&redis.Options{Addr: addr, Username: "locks", Password: "secret", MaxRetries: -1})
	defer c.Close()
	n := New(c, Options{})
	defer n.Close()
	seal := func() (*redis.Conn, bool) {
		t.Helper()
		conn := c.Conn()
		t.Cleanup(func() { _ = conn.Close() })
		sealed, err := n.stream.seal(context.Background(), conn, "run")
		require.NoError(t, err)
		return conn, sealed
	}
	first, sealed := seal()
	require.False(t, sealed)
	rights("+client|kill")
	second, sealed := seal()
	require.True(t, sealed)
	require.Error(t, first.Ping(ctx).Err(), "the first is gone")
	require.NoError(t, second.Ping(ctx).Err())

	rights("-client|id")
	_, sealed = seal()
	require.False(t, sealed)
	rights("+client|id")
	_, sealed = seal()
	require.False(t, sealed, "one of them has no name to be ended by")
}

// However many calls wait, a release is taken.
func TestReleasesAreAlwaysTaken(t *testing.T) {
	s, _, _, _ := pipe(t)
	s.queue = make([]waiting, maxWaiting)
	defer func() { s.queue = nil }()
	require.ErrorIs(t, s.unable(redlock.OpAcquire), errTooMany)
	require.NoError(t, s.unable(redlock.OpRelease))
}

// A server that cannot be reached leaves nothing behind that goes on trying.
func TestAFailedDialLeavesNothing(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := nobody.Addr().String()
	require.NoError(t, nobody.Close())
	before := goleak.IgnoreCurrent()
	for range 100 {
		n := New(nil, Options{Addr: addr})
		done := make(chan error, 1)
		n.Submit(&redlock.Call{Op: redlock.OpRelease, Key: "k", Owner: "0123456789abcdef0123456789abcdef",
			Timeout: time.Minute, Done: func(c *redlock.Call) { done <- c.Err }})
		require.Error(t, <-done)
		require.NoError(t, n.Close())
	}
	goleak.VerifyNone(t, before)
}
