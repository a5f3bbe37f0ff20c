package server_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peers are the two ends of a connection through a proxy.
func peers(t *testing.T) (p *server.Proxy, client, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	p, err = server.StartProxy(listener.Addr().String(), 1)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	near, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	accepted, err := listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = near.Close(), accepted.Close() })
	return p, near.(*net.TCPConn), accepted.(*net.TCPConn)
}

// says demands that a text arrives, however long it takes.
func says(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	require.NoError(t, err)
	arrives(t, to, text)
}

func arrives(t *testing.T, to net.Conn, text string) {
	t.Helper()
	require.NoError(t, to.SetReadDeadline(time.Now().Add(20*time.Second)))
	got := make([]byte, len(text))
	_, err := io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// silent demands that nothing arrives for a while, the end of the connection
// included.
func silent(t *testing.T, to net.Conn) {
	t.Helper()
	require.NoError(t, to.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	n, err := to.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// ended demands the end of a connection.
func ended(t *testing.T, to net.Conn) {
	t.Helper()
	require.NoError(t, to.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err := to.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestAProxyHoldsOneWay(t *testing.T) {
	p, client, far := peers(t)
	says(t, client, far, "hello")
	p.Harm(server.ToServer, server.Harm{Hold: true})
	_, err := io.WriteString(client, "kept")
	require.NoError(t, err)
	silent(t, far)
	says(t, far, client, "the other way is free")
	p.Mend(server.ToServer, server.Harm{Hold: true})
	arrives(t, far, "kept")
}

// A network that loses packets does not tell either side that the other has gone.
func TestAHeldCloseIsSwallowed(t *testing.T) {
	for name, harm := range map[string]server.Harm{"held": {Hold: true}, "lost": {Lose: true}} {
		t.Run(name, func(t *testing.T) {
			p, client, far := peers(t)
			says(t, client, far, "hello")
			p.Harm(server.ToServer, harm)
			require.NoError(t, client.Close())
			silent(t, far)
			p.Mend(server.ToServer, harm)
			ended(t, far)
		})
	}
}

func TestWhatIsLostStaysLost(t *testing.T) {
	p, client, far := peers(t)
	says(t, client, far, "hello")
	p.Harm(server.ToServer, server.Harm{Lose: true})
	_, err := io.WriteString(client, "lost")
	require.NoError(t, err)
	silent(t, far)
	p.Mend(server.ToServer, server.Harm{Lose: true})
	ended(t, far)
	ended(t, client)
}

// Connections that had nothing to lose survive a partition.
func TestAQuietConnectionSurvives(t *testing.T) {
	p, client, far := peers(t)
	says(t, client, far, "hello")
	p.Harm(server.ToServer, server.Harm{Lose: true})
	p.Harm(server.ToClient, server.Harm{Lose: true})
	silent(t, far)
	p.MendAll()
	says(t, client, far, "still here")
	says(t, far, client, "so am I")
}

func TestAProxyResets(t *testing.T) {
	p, client, far := peers(t)
	says(t, client, far, "hello")
	p.Reset()
	ended(t, client)
	ended(t, far)
}

func TestIdleConnectionsBreak(t *testing.T) {
	p, client, far := peers(t)
	says(t, client, far, "hello")
	p.Harm(server.ToServer, server.Harm{Idle: 20 * time.Millisecond})
	ended(t, client)
	ended(t, far)
}

// Slices, a narrow link and delays change when data come, and nothing else.
func TestNothingIsGarbled(t *testing.T) {
	p, client, far := peers(t)
	p.Harm(server.ToServer, server.Harm{Slice: 7, Jitter: time.Millisecond, Delay: time.Millisecond})
	p.Harm(server.ToServer, server.Harm{Slice: 1000, Bandwidth: 10 << 20})
	sent := make([]byte, 200_000)
	for i := range sent {
		sent[i] = byte(i * i >> 3)
	}
	go func() {
		_, _ = client.Write(sent)
		_ = client.CloseWrite()
	}()
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
}

// What is delayed comes no sooner.
func TestADelayIsKept(t *testing.T) {
	p, client, far := peers(t)
	const delay = 30 * time.Millisecond
	p.Harm(server.ToServer, server.Harm{Delay: delay})
	before := time.Now()
	says(t, client, far, "late")
	assert.GreaterOrEqual(t, time.Since(before), delay)
}
