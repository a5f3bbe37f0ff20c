package chaos

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/sim"
)

// prepare brings up the servers, the proxies and the processes.
func (r *run) prepare() error {
	cfg := r.cfg
	if err := r.plan.check(); err != nil {
		return err
	}
	if needsClocks(cfg) && r.cluster.noClock != nil {
		return fmt.Errorf("chaos: %s sets servers' clocks, which cannot be done here: %w", r.plan.Name, r.cluster.noClock)
	}
	var err error
	if r.hosts, err = r.cluster.members(cfg.Kinds, cfg.Alias); err != nil {
		return err
	}
	r.turns = make([]sync.Mutex, len(r.hosts))
	if err := settle(r.ctx, r.hosts, cfg.MaxTTL); err != nil {
		return err
	}
	r.keys = []string{fmt.Sprintf("%s-%d", r.plan.Name, stamp().Milliseconds())}
	if r.plan.Mixed != nil {
		for i := range r.plan.Mixed.Keys - 1 {
			r.keys = append(r.keys, fmt.Sprintf("%s.%d", r.keys[0], i+2))
		}
	}
	if r.store, err = startChild(r.self, "store"); err != nil {
		return err
	}
	addr, err := r.store.awaitReady(20 * time.Second)
	if err != nil {
		return err
	}
	if err := r.connect(addr); err != nil {
		return err
	}
	r.hear(everybody, r.store)
	for i := range cfg.Faults {
		f := &cfg.Faults[i]
		for _, n := range indices(f.Node, len(r.hosts)) {
			if f.Verb == sim.Failover {
				if err := r.replicate(n); err != nil {
					return err
				}
			}
		}
	}
	for range cfg.Clients {
		r.clients = append(r.clients, &client{})
	}
	return r.startClients()
}

// connect makes a proxy for each pair of a client and a server.
func (r *run) connect(store string) error {
	for c := range r.cfg.Clients {
		var links []*server.Proxy
		for n, h := range r.hosts {
			p, err := server.StartProxy(h.server.Addr(), r.cfg.Seed+uint64(c*64+n))
			if err != nil {
				return err
			}
			links = append(links, p)
			r.lengthen(p)
		}
		r.links = append(r.links, links)
		p, err := server.StartProxy(store, r.cfg.Seed+uint64(c*64+63))
		if err != nil {
			return err
		}
		r.stores = append(r.stores, p)
	}
	return nil
}

// lengthen gives a link the world's latency, if that is more than a loopback's.
func (r *run) lengthen(p *server.Proxy) {
	h := server.Harm{Delay: r.cfg.Latency, Jitter: r.cfg.Jitter}
	if h.Delay <= time.Millisecond && h.Jitter == 0 {
		return
	}
	p.Harm(server.ToServer, h)
	p.Harm(server.ToClient, h)
}

func (r *run) startClients() error {
	started := make(chan error, len(r.clients))
	for c := range r.clients {
		go func() { started <- r.startClient(c, 0) }()
	}
	var errs []error
	for range r.clients {
		errs = append(errs, <-started)
	}
	return errors.Join(errs...)
}

// startClient starts a client's process, which waits to be told to begin.
func (r *run) startClient(c, life int) error {
	before := 0
	if life > 0 {
		before = r.clients[c].takes
	}
	k, err := startChild(r.self, "worker")
	if err != nil {
		return err
	}
	if err := k.tell(r.spec(c, life, before)); err != nil {
		k.Kill()
		return err
	}
	if _, err := k.awaitReady(20 * time.Second); err != nil {
		return err
	}
	r.clients[c].reborn(k, life)
	r.hear(c, k)
	return nil
}

// spec is what a client is to be.
func (r *run) spec(c, life, takes int) *spec {
	cfg := r.cfg
	s := &spec{
		Client: c, Life: life, Seed: cfg.Seed, Store: r.stores[c].Addr(),
		TTL: cfg.TTL, MaxTTL: cfg.MaxTTL, MinValid: cfg.MinValidity, Timeout: cfg.NodeTimeout, MaxHold: cfg.MaxHold,
		OutageWait: cfg.OutageWait, DriftPPM: cfg.DriftPPM, NoRenew: cfg.NoRenew, Strict: cfg.Strict, Handoffs: cfg.Handoffs, Without: r.plan.Without.String(),
		Key: r.keys[0], Work: cfg.Work, Healed: r.isHealed(),
	}
	if c < len(cfg.Plans) {
		s.Work = cfg.Plans[c]
	}
	if s.Work.Times > 0 {
		s.Work.Times = max(1, s.Work.Times-takes)
	}
	for n, p := range r.links[c] {
		s.URLs = append(s.URLs, urlOf(r.hosts[n].kind, p.Addr(), fmt.Sprintf("n%d", n+1), cfg.MaxTTL))
	}
	for i := range cfg.Faults {
		f := &cfg.Faults[i]
		if f.On != "" && (f.OnClient == c || f.OnClient == everybody) {
			s.Signals = append(s.Signals, signalOf(f))
		}
	}
	if r.plan.Mixed != nil {
		s.Keys, s.Routines = r.keys, r.plan.Mixed.Routines
	}
	return s
}

// hear passes on what a process says, until it has ended.
func (r *run) hear(c int, k *child) {
	r.listen.Go(func() {
		for s := range k.said {
			r.heard <- heard{client: c, said: s}
		}
	})
}
