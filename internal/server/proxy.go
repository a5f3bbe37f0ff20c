package server

import (
	"net"
	"slices"
	"sync"
	"time"
)

// Direction is one way through a Proxy.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Harm is what a Proxy does to one direction of its connections. Harms add up, and
// each is ended by itself.
type Harm struct {
	Hold      bool          // keep what comes, and deliver it when the harm ends
	Lose      bool          // lose what comes; connections that lost anything break when the harm ends
	Delay     time.Duration // deliver so much later
	Jitter    time.Duration // and up to so much more, at random
	Slice     int           // deliver in pieces of so many bytes
	Bandwidth int           // bytes a second
	Idle      time.Duration // break connections on which nothing came for so long
}

// way is the state of one direction: its harms, and what they come to.
type way struct {
	harms []Harm
	sum   Harm
	open  chan struct{} // closed while data passes
}

// Proxy stands between clients and one server and does harm on request. Unlike
// most proxies it can hold and lose what it was sent without closing anything, so
// a peer sees what it would see of a network that swallows packets: the end of a
// connection is swallowed as well. Equal seeds draw equal delays for equal
// traffic. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	target string
	random uint64
	closed chan struct{}
	ways   [2]way
	drops  int // replies still to be lost
	total  int
	pairs  map[*pair]bool
}

// StartProxy starts a proxy in front of a server.
func StartProxy(target string, seed uint64) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, random: seed, listener: listener, closed: make(chan struct{}), pairs: map[*pair]bool{}}
	for i := range p.ways {
		p.ways[i].open = make(chan struct{})
		close(p.ways[i].open)
	}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// Addr is where clients connect, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget sends connections made from now on to another server.
func (p *Proxy) SetTarget(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = addr
}

// Connections counts the connections that clients made so far.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// Open counts the connections that there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// Heads gives the first bytes that the server sent on each connection there is.
func (p *Proxy) Heads() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var heads [][]byte
	for pr := range p.pairs {
		heads = append(heads, slices.Clone(pr.head))
	}
	return heads
}

// Ports gives the local ports of the connections to the server: what the server
// knows the proxy's clients by.
func (p *Proxy) Ports() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ports []int
	for pr := range p.pairs {
		if pr.server != nil {
			ports = append(ports, pr.server.LocalAddr().(*net.TCPAddr).Port)
		}
	}
	return ports
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
	for _, d := range []Direction{ToServer, ToClient} {
		p.Mend(d, Harm{Hold: true})
		p.Harm(d, Harm{Hold: true})
	}
}

// Pass ends a Hold: what was kept is delivered, late.
func (p *Proxy) Pass() {
	for _, d := range []Direction{ToServer, ToClient} {
		p.Mend(d, Harm{Hold: true})
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

// Reset resets all connections. New ones are accepted.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pr := range p.pairs {
		pr.reset()
	}
}

// Harm does harm to one direction, until it is mended.
func (p *Proxy) Harm(d Direction, h Harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ways[d].harms = append(p.ways[d].harms, h)
	p.ways[d].add()
	if h.Idle > 0 {
		p.wg.Add(1)
		go p.breakIdle(d, h)
	}
}

// Mend ends one harm that is equal to h, if there is one.
func (p *Proxy) Mend(d Direction, h Harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.ways[d]
	i := slices.Index(w.harms, h)
	if i < 0 {
		return
	}
	w.harms = slices.Delete(w.harms, i, i+1)
	lost := w.sum.Lose
	w.add()
	if lost && !w.sum.Lose {
		for pr := range p.pairs {
			if pr.robbed[d] {
				pr.reset()
			}
		}
	}
}

// MendAll ends all harms.
func (p *Proxy) MendAll() {
	for d := range p.ways {
		p.mu.Lock()
		harms := slices.Clone(p.ways[d].harms)
		p.mu.Unlock()
		for _, h := range harms {
			p.Mend(Direction(d), h)
		}
	}
}

// add works out what the harms come to.
func (w *way) add() {
	w.sum = Harm{}
	for _, h := range w.harms {
		w.sum.Hold = w.sum.Hold || h.Hold
		w.sum.Lose = w.sum.Lose || h.Lose
		w.sum.Delay += h.Delay
		w.sum.Jitter += h.Jitter
		w.sum.Slice = least(w.sum.Slice, h.Slice)
		w.sum.Bandwidth = least(w.sum.Bandwidth, h.Bandwidth)
	}
	isOpen := false
	select {
	case <-w.open:
		isOpen = true
	default:
	}
	switch passes := !w.sum.Hold; {
	case isOpen && !passes:
		w.open = make(chan struct{})
	case !isOpen && passes:
		close(w.open)
	}
}

// least is the smaller one of those that are set.
func least(a, b int) int {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// breakIdle breaks idle connections until the harm has ended.
func (p *Proxy) breakIdle(d Direction, h Harm) {
	defer p.wg.Done()
	every := time.NewTicker(max(time.Millisecond, h.Idle/8))
	defer every.Stop()
	for {
		select {
		case <-p.closed:
			return
		case now := <-every.C:
			p.mu.Lock()
			if !slices.Contains(p.ways[d].harms, h) {
				p.mu.Unlock()
				return
			}
			for pr := range p.pairs {
				if now.Sub(pr.active) > h.Idle {
					pr.reset()
				}
			}
			p.mu.Unlock()
		}
	}
}

// Close ends the proxy and all its connections. It may be called more than once.
func (p *Proxy) Close() {
	p.mu.Lock()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		pr := &pair{client: client, gone: make(chan struct{}), active: time.Now()}
		p.mu.Lock()
		p.total++
		p.pairs[pr] = true
		select {
		case <-p.closed:
			pr.cut()
		default:
		}
		p.wg.Add(1)
		p.mu.Unlock()
		go p.connect(pr)
	}
}

// connect makes the connection to the server, once something can reach it, and
// carries data both ways until both have ended.
func (p *Proxy) connect(pr *pair) {
	defer p.wg.Done()
	defer p.forget(pr)
	if !p.admit(pr, ToServer) {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, 2*time.Second)
	if err != nil {
		return
	}
	p.mu.Lock()
	pr.server = server
	select {
	case <-pr.gone:
		_ = server.Close()
	default:
	}
	p.mu.Unlock()
	var ways sync.WaitGroup
	for _, d := range []Direction{ToServer, ToClient} {
		chunks := make(chan chunk, 32)
		ways.Go(func() { p.read(pr, d, chunks) })
		ways.Go(func() { p.write(pr, d, chunks) })
	}
	ways.Wait()
}

func (p *Proxy) forget(pr *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pr.cut()
	delete(p.pairs, pr)
}

// look gives what is done to a direction now.
func (p *Proxy) look(d Direction) (Harm, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ways[d].sum, p.ways[d].open
}

// below draws from [0, n) (splitmix64).
func (p *Proxy) below(n time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.random += 0x9E3779B97F4A7C15
	z := p.random
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return time.Duration((z ^ z>>31) % uint64(n))
}
