package testserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock/internal/testserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conn is a connection to a Redis that answers within a generous time.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return conn{c, bufio.NewReader(c)}
}

func (c conn) ask(command string) (string, error) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := c.r.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (c conn) mustAsk(t *testing.T, command, want string) {
	t.Helper()
	got, err := c.ask(command)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestRedisLosesItsDataInACrash(t *testing.T) {
	s := testserver.StartRedis(t)
	c := dial(t, s.Addr())
	c.mustAsk(t, "SET k 1", "+OK")
	s.Restart()
	_, err := c.ask("PING")
	require.Error(t, err, "a crash ends connections")
	dial(t, s.Addr()).mustAsk(t, "EXISTS k", ":0")
	require.Contains(t, s.Log(), "Ready to accept connections")
}

func TestRedisArgumentsWin(t *testing.T) {
	s := testserver.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always", "--requirepass", "x")
	c := dial(t, s.Addr())
	c.mustAsk(t, "AUTH x", "+OK")
	c.mustAsk(t, "SET k 1", "+OK")
	s.Kill()
	_, err := net.Dial("tcp", s.Addr())
	require.Error(t, err)
	s.Start()
	c = dial(t, s.Addr())
	c.mustAsk(t, "AUTH x", "+OK")
	c.mustAsk(t, "EXISTS k", ":1")
}

func TestRedisStops(t *testing.T) {
	s := testserver.StartRedis(t)
	c := dial(t, s.Addr())
	s.Stop()
	_, err := fmt.Fprint(c, "PING\r\n")
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = c.r.ReadByte()
	require.Error(t, err, "a frozen server answers nothing")
	s.Cont()
	c.mustAsk(t, "SET k 1", "+PONG") // the answer to what it was asked before
	s.Stop()
	s.Close() // a frozen server can be ended too
	s.Close()
}

func TestProxyDropsAReply(t *testing.T) {
	s := testserver.StartRedis(t)
	p := testserver.StartProxy(t, s.Addr())
	c := dial(t, p.Addr())
	c.mustAsk(t, "INCR n", ":1")
	p.DropReply()
	_, err := c.ask("INCR n")
	require.ErrorIs(t, err, io.EOF)
	dial(t, p.Addr()).mustAsk(t, "INCR n", ":3")
	require.Equal(t, 2, p.Connections())
}

// A cut line must not end anything by itself: a lock's holder learns nothing.
func TestProxyHolds(t *testing.T) {
	s := testserver.StartRedis(t)
	p := testserver.StartProxy(t, s.Addr())
	c := dial(t, p.Addr())
	c.mustAsk(t, "PING", "+PONG")
	p.Hold()
	_, err := fmt.Fprint(c, "INCR n\r\n")
	require.NoError(t, err)
	dial(t, s.Addr()).mustAsk(t, "EXISTS n", ":0")
	p.Pass()
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, ":1\r\n", line)
	p.Hold()
	p.Cut()
	_, err = c.ask("PING")
	require.Error(t, err)
}

// Fatalf in a machine without the program would fail every build, so a plain run
// only skips.
func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for require_, want := range map[string]string{"1": "fatal", "": "skip"} {
		t.Setenv("REDLOCK_TEST_REQUIRE", require_)
		tb := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			testserver.StartRedis(tb)
		}()
		require.Equal(t, want, tb.ended)
		require.Contains(t, tb.text, "install redis-server")
	}
}

// recorder notes how a test ends, and ends it by a panic.
type recorder struct {
	testserver.TB
	ended, text string
}

func (r *recorder) Fatalf(format string, args ...any) { r.end("fatal", format, args) }

func (r *recorder) Skipf(format string, args ...any) { r.end("skip", format, args) }

func (r *recorder) end(how, format string, args []any) {
	r.ended, r.text = how, fmt.Sprintf(format, args...)
	panic(how)
}
