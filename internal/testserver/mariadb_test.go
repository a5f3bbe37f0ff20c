package testserver_test

import (
	"bufio"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/testserver"
)

// greeting is the first that a server says: the version of its protocol, and its own up to the first dash.
func greeting(t *testing.T, network, addr string) string {
	t.Helper()
	c, err := net.Dial(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	text, err := bufio.NewReader(c).ReadString('-')
	require.NoError(t, err)
	return text
}

func TestMariaDB(t *testing.T) {
	s, other := testserver.StartMariaDB(t), testserver.StartMariaDB(t)
	require.NotEqual(t, s.Port, other.Port)
	require.Contains(t, greeting(t, "tcp", s.Addr()), ".")
	require.Contains(t, greeting(t, "unix", s.Socket()), ".")
	s.Restart()
	require.Contains(t, greeting(t, "tcp", s.Addr()), ".")
	require.Contains(t, s.Log(), "ready for connections")
	require.Contains(t, greeting(t, "tcp", other.Addr()), ".")

	s.Stop()
	c, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a frozen server says nothing")
	s.Cont()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)

	s.Stop()
	s.Close() // a frozen server can be ended too
	s.Close()
	_, err = net.Dial("tcp", s.Addr())
	require.Error(t, err)
}

func TestMariaDBArgumentsWin(t *testing.T) {
	tb := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		testserver.StartMariaDB(tb, "--no-such-option")
	}()
	require.Equal(t, "fatal", tb.ended)
	require.Contains(t, tb.text, "no-such-option", "the server's own words")
}
