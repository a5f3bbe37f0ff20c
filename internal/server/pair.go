package server

import (
	"net"
	"sync"
	"time"
)

// pair is a client's connection and the one made for it. What comes in one
// direction is read, kept for as long as it is delayed, and written, by two
// goroutines. The end of a connection travels as data do.
type pair struct {
	client, server net.Conn
	gone           chan struct{}
	once           sync.Once

	// Under the proxy's lock.
	robbed [2]bool // lost something
	active time.Time
	head   []byte // of what the server sent
}

// headLength is enough for what a ZooKeeper server greets with.
const headLength = 64

// cut ends both connections at once.
func (pr *pair) cut() {
	pr.once.Do(func() { close(pr.gone) })
	for _, c := range []net.Conn{pr.client, pr.server} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// reset ends both as a middlebox does that has forgotten them: what they had not
// read yet is lost, too.
func (pr *pair) reset() {
	for _, c := range []net.Conn{pr.client, pr.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	pr.cut()
}

// chunk is what was read at once; nil data are the connection's end.
type chunk struct {
	data []byte
	due  time.Time
}

func (p *Proxy) ends(pr *pair, d Direction) (from, to net.Conn) {
	if d == ToServer {
		return pr.client, pr.server
	}
	return pr.server, pr.client
}

func (p *Proxy) read(pr *pair, d Direction, chunks chan<- chunk) {
	defer close(chunks)
	from, _ := p.ends(pr, d)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 && !p.push(pr, d, buf[:n], chunks) {
			return
		}
		if err != nil {
			p.push(pr, d, nil, chunks)
			return
		}
	}
}

func (p *Proxy) push(pr *pair, d Direction, data []byte, chunks chan<- chunk) bool {
	harm, _ := p.look(d)
	due := time.Now().Add(harm.Delay)
	if harm.Jitter > 0 {
		due = due.Add(p.below(harm.Jitter))
	}
	p.mu.Lock()
	pr.active = time.Now()
	if d == ToClient && len(pr.head) < headLength {
		pr.head = append(pr.head, data...)
	}
	p.mu.Unlock()
	select {
	case chunks <- chunk{data, due}:
		return true
	case <-pr.gone:
		return false
	}
}

// write delivers what was read. When the other side cannot be written to any
// more, the rest goes nowhere, up to the end.
func (p *Proxy) write(pr *pair, d Direction, chunks <-chan chunk) {
	_, to := p.ends(pr, d)
	broken := false
	for c := range chunks {
		if !pr.wait(time.Until(c.due)) || !p.admit(pr, d) {
			return
		}
		harm, _ := p.look(d)
		switch {
		case harm.Lose:
			p.rob(pr, d)
			if c.data == nil && !p.awaitMend(pr, d) {
				return
			}
		case c.data == nil:
			_ = to.Close()
			return
		case d == ToClient && p.steal():
			pr.cut()
			return
		case !broken:
			broken = !pr.deliver(to, c.data, harm)
		}
	}
}

// deliver writes data in pieces, no faster than it may.
func (pr *pair) deliver(to net.Conn, data []byte, harm Harm) bool {
	const pieces = 256 // what is longer than so many is cut no further
	size := len(data)
	if harm.Slice > 0 {
		size = max(harm.Slice, (len(data)+pieces-1)/pieces)
	}
	for len(data) > 0 {
		n := min(size, len(data))
		if _, err := to.Write(data[:n]); err != nil {
			return false
		}
		data = data[n:]
		var pause time.Duration
		if harm.Bandwidth > 0 {
			pause = time.Duration(n) * time.Second / time.Duration(harm.Bandwidth)
		} else if len(data) > 0 {
			pause = 50 * time.Microsecond // or else the pieces arrive as one
		}
		if !pr.wait(pause) {
			return false
		}
	}
	return true
}

// wait waits; it reports false if the pair was cut meanwhile.
func (pr *pair) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-pr.gone:
		return false
	}
}

// admit waits while data is held. It reports false if the pair was cut.
func (p *Proxy) admit(pr *pair, d Direction) bool {
	for {
		harm, open := p.look(d)
		if !harm.Hold {
			return true
		}
		select {
		case <-open:
		case <-pr.gone:
			return false
		}
	}
}

// rob notes that a pair lost something; it is cut when nothing more is lost.
func (p *Proxy) rob(pr *pair, d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr.robbed[d] = true
}

// awaitMend keeps a connection's end from the other side while data is lost. The
// pair is cut when that is over, so waiting for that is enough.
func (p *Proxy) awaitMend(pr *pair, d Direction) bool {
	p.mu.Lock()
	over := !p.ways[d].sum.Lose
	p.mu.Unlock()
	if over {
		pr.cut()
		return false
	}
	<-pr.gone
	return false
}

// steal reports whether a reply is to be lost.
func (p *Proxy) steal() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drops == 0 {
		return false
	}
	p.drops--
	return true
}
