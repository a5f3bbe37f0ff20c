package testserver

import (
	"net"
	"sync"
)

// Proxy stands between clients and one server and does harm on request. Unlike
// most proxies it can hold what it was sent without closing anything, so a peer
// sees what it would see of a network that swallows packets. It is safe for
// concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   chan struct{} // closed while data passes
	drops  int           // replies still to be lost
	total  int
	pairs  map[*pair]bool
}

// pair is a client's connection and the one made for it.
type pair struct {
	client, server net.Conn
	gone           chan struct{}
	once           sync.Once
}

func (p *pair) cut() {
	p.once.Do(func() {
		close(p.gone)
		_ = p.client.Close()
		_ = p.server.Close()
	})
}

// StartProxy starts a proxy in front of a server. It ends with the test.
func StartProxy(tb TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("proxy: %v", err)
	}
	p := &Proxy{target: target, listener: listener, open: make(chan struct{}), pairs: map[*pair]bool{}}
	close(p.open)
	p.wg.Add(1)
	go p.accept()
	tb.Cleanup(p.Close)
	return p
}

// Addr is where clients connect, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Connections counts the connections that clients made so far.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// DropReply loses the server's next reply, on whichever connection it comes, and
// cuts that connection: the server did what it was asked, and nobody hears of it.
func (p *Proxy) DropReply() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops++
}

// Hold makes the proxy keep everything it receives, in both directions.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.held() {
		p.open = make(chan struct{})
	}
}

// Pass ends a Hold: what was kept is delivered, late.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held() {
		close(p.open)
	}
}

// Cut closes all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pr := range p.pairs {
		pr.cut()
	}
}

// Close ends the proxy and all its connections. It may be called more than once.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) held() bool {
	select {
	case <-p.open:
		return false
	default:
		return true
	}
}

func (p *Proxy) accept() {
	defer p.wg.Done()
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
		p.join(&pair{client: client, server: server, gone: make(chan struct{})})
	}
}

// join carries data both ways until one side ends.
func (p *Proxy) join(pr *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total++
	if p.closed {
		pr.cut()
		return
	}
	p.pairs[pr] = true
	p.wg.Add(2)
	go p.carry(pr, pr.client, pr.server, false)
	go p.carry(pr, pr.server, pr.client, true)
}

func (p *Proxy) carry(pr *pair, from, to net.Conn, replies bool) {
	defer p.wg.Done()
	defer p.forget(pr)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.admit(pr) || replies && p.steal() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			// An end is news too: while data is held, so is it.
			p.admit(pr)
			return
		}
	}
}

// admit waits while data is held. It reports false if the pair was cut.
func (p *Proxy) admit(pr *pair) bool {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return true
	case <-pr.gone:
		return false
	}
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

func (p *Proxy) forget(pr *pair) {
	pr.cut()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pairs, pr)
}
