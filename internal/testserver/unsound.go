package testserver

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// Unsound makes connections that break at random: before the server gets what is written, in the
// middle of it, or behind it; or the server gets it some time later, and takes the
// connection for alive until then. Safe for concurrent use.
type Unsound struct{ oneIn atomic.Int32 }

// Break lets one in so many reads or writes fail from now on; none for zero.
func (u *Unsound) Break(oneIn int) { u.oneIn.Store(int32(oneIn)) }

// Dial makes a connection that may break.
func (u *Unsound) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &unsoundConn{Conn: conn, unsound: u}, nil
}

func (u *Unsound) fails() bool {
	n := u.oneIn.Load()
	return n > 0 && rand.Int32N(n) == 0
}

// latest is how late what was written comes at most.
const latest = 200 * time.Millisecond

type unsoundConn struct {
	net.Conn
	unsound *Unsound
	broken  atomic.Bool
}

func (c *unsoundConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, net.ErrClosed
	}
	if !c.unsound.fails() {
		return c.Conn.Write(p)
	}
	c.broken.Store(true)
	switch rand.IntN(4) {
	case 0:
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	case 1:
		n, _ := c.Conn.Write(p[:rand.IntN(len(p)+1)])
		_ = c.Conn.Close()
		return n, net.ErrClosed
	case 2:
		n, err := c.Conn.Write(p)
		_ = c.Conn.Close()
		return n, err
	}
	late := slices.Clone(p)
	_ = c.SetReadDeadline(time.Unix(1, 0)) // who reads hears of it at once
	time.AfterFunc(rand.N(latest), func() {
		_, _ = c.Conn.Write(late)
		_ = c.Conn.Close()
	})
	return len(p), nil
}

func (c *unsoundConn) Read(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p)
	if err == nil && !c.broken.Load() && c.unsound.fails() {
		c.broken.Store(true)
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// Close leaves alone what something comes late on.
func (c *unsoundConn) Close() error {
	if c.broken.Swap(true) {
		return nil
	}
	return c.Conn.Close()
}
