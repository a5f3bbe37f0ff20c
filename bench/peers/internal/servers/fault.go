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
