package servers

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy passes on what clients and a server say to each other. Replies can be made
// to come later, by the same for all: the pipe gets longer, not narrower.
type proxy struct {
	listener net.Listener
	target   string
	delay    atomic.Int64

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

func startProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// close closes the port and cuts all connections.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if p.track(client, server) {
			go p.pass(client, server, false)
			go p.pass(server, client, true)
		}
	}
}

func (p *proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.closed {
			_ = c.Close()
		} else {
			p.conns[c] = true
		}
	}
	return !p.closed
}

// parcel is what was read at once and when it is to be passed on.
type parcel struct {
	due  time.Time
	data []byte
}

func (p *proxy) pass(from, to net.Conn, replies bool) {
	parcels := make(chan parcel, 4096)
	go func() {
		for parcel := range parcels {
			time.Sleep(time.Until(parcel.due))
			if _, err := to.Write(parcel.data); err != nil {
				_ = from.Close()
			}
		}
		p.drop(from, to)
	}()
	defer close(parcels)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		next := parcel{data: append([]byte(nil), buf[:n]...)}
		if replies {
			next.due = time.Now().Add(time.Duration(p.delay.Load()))
		}
		parcels <- next
	}
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}
