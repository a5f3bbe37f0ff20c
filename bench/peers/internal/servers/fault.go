package servers

import (
	"fmt"
	"time"
)

// Fault is what is wrong with the one bad node.
type Fault string

// The faults. A slow node answers SlowBy later, a stopped one takes connections and
// answers nothing, and a closed one has its port closed.
const (
	Slow    Fault = "slow"
	Stopped Fault = "stopped"
	Closed  Fault = "closed"
)

// SlowBy is how much later a slow node answers.
const SlowBy = 100 * time.Millisecond

// Bad is the number of the node that turns bad.
const Bad = RedisNodes - 1

// Faulty is the group of five with a proxy before one of them, through which that
// one can be made bad for whoever uses these addresses.
type Faulty struct {
	servers *Servers
	proxy   *proxy
	stopped bool
}

// Faulty puts the proxy up. The node is well until Break.
func (s *Servers) Faulty() (*Faulty, error) {
	p, err := startProxy(s.redis[Bad].Addr())
	if err != nil {
		return nil, err
	}
	return &Faulty{servers: s, proxy: p}, nil
}

// Addrs are the addresses of the five.
func (f *Faulty) Addrs() []string {
	addrs := f.servers.RedisAddrs()
	addrs[Bad] = f.proxy.addr()
	return addrs
}

// Break makes the node a bad one.
func (f *Faulty) Break(fault Fault) error {
	switch fault {
	case Slow:
		f.proxy.delay.Store(int64(SlowBy))
	case Stopped:
		f.stopped = true
		return attempt(f.servers.redis[Bad].Stop)
	case Closed:
		f.proxy.close()
	default:
		return fmt.Errorf("there is no fault %q", fault)
	}
	return nil
}

// Close makes the node well again and takes the proxy down.
func (f *Faulty) Close() error {
	f.proxy.close()
	if !f.stopped {
		return nil
	}
	return attempt(f.servers.redis[Bad].Cont)
}

// FarBy is how long the way to a far server and back is, beyond what it takes here.
const FarBy = 2 * time.Millisecond

// Far is the group of five with a proxy before each, so that they are as far away as
// servers in another data center of the same city.
type Far struct{ proxies []*proxy }

// Far puts the proxies up.
func (s *Servers) Far() (*Far, error) {
	f := &Far{}
	for _, r := range s.redis {
		p, err := startProxy(r.Addr())
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		p.delay.Store(int64(FarBy))
		f.proxies = append(f.proxies, p)
	}
	return f, nil
}

// Addrs are the addresses of the five.
func (f *Far) Addrs() []string {
	addrs := make([]string, len(f.proxies))
	for i, p := range f.proxies {
		addrs[i] = p.addr()
	}
	return addrs
}

// Close takes the proxies down.
func (f *Far) Close() error {
	for _, p := range f.proxies {
		p.close()
	}
	return nil
}
