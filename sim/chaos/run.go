package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/sim"
)

// Plan is what is to happen: a world, the work in it and its faults, as the
// simulator has them.
type Plan struct {
	Name    string
	Quorum  string
	Config  sim.Config // with Kinds, TTL and all else as it is to be here
	Without sim.Defence
	Mixed   *Mix          // instead of Config's work
	Quiet   time.Duration // how long it takes to settle after the faults, at the most; default 10 s and 4 times MaxTTL
}

// Mix is work in every way that the library offers, on many keys.
type Mix struct {
	Keys     int
	Routines int // of each client's process
}

// run is a plan that is being carried out.
type run struct {
	ctx     context.Context
	plan    *Plan
	cfg     *sim.Config
	cluster *Cluster
	self    Self
	keys    []string

	hosts    []*host
	turns    []sync.Mutex // one thing at a time is done to a server
	links    [][]*server.Proxy
	stores   []*server.Proxy
	store    *child
	replicas map[int]*server.Server
	backups  map[string]string
	clients  []*client

	origin time.Duration
	epoch  uint64
	heard  chan heard
	busy   sync.WaitGroup // faults that are beginning or ending
	listen sync.WaitGroup

	mu      sync.Mutex
	history []sim.Deed
	samples []Sample
	healed  bool
	timers  []*time.Timer
	errs    []error
	pending int // faults that are to begin or to end yet
	waiting []sim.Fault
}

// heard is what a process said.
type heard struct {
	client int
	said
}

// Run carries out a plan. Errors are of the machine or of the harness; what the lock
// did wrong is in the Record.
func (c *Cluster) Run(ctx context.Context, self Self, plan Plan) (*Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{
		ctx: ctx, plan: &plan, cfg: &plan.Config, cluster: c, self: self,
		replicas: map[int]*server.Server{}, backups: map[string]string{}, heard: make(chan heard, 4096),
	}
	defer r.close()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	r.follow(r.finished, r.cfg.HealAt)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.heal()
	quiet := plan.Quiet
	if quiet == 0 {
		quiet = 4*r.cfg.MaxTTL + 10*time.Second + r.setBack()
	}
	if !r.follow(r.served, r.since()+quiet) && ctx.Err() == nil {
		r.starve(quiet)
	}
	r.stop()
	r.lookForLeftovers()
	if err := errors.Join(append(r.errs, ctx.Err())...); err != nil {
		return nil, err
	}
	return r.record(), nil
}

// since is the time since the run began.
func (r *run) since() time.Duration { return stamp() - r.origin }

// setBack is by how much clocks were set back: grants last so much longer.
func (r *run) setBack() time.Duration {
	var back time.Duration
	for _, f := range r.cfg.Faults {
		if f.Verb == sim.Jump && f.By < 0 {
			back = max(back, -f.By)
		}
	}
	return back
}

// prepare brings up the servers, the proxies and the processes.
func (r *run) prepare() error {
	cfg := r.cfg
	for i := range cfg.Faults {
		if why := impossible(&cfg.Faults[i], cfg.Kinds); why != "" {
			return fmt.Errorf("chaos: %s: %v: %s", r.plan.Name, &cfg.Faults[i], why)
		}
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
		OutageWait: cfg.OutageWait, DriftPPM: cfg.DriftPPM, NoRenew: cfg.NoRenew, Without: r.plan.Without.String(),
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

func signalOf(f *sim.Fault) string { return fmt.Sprintf("%s#%d", f.On, f.OnCount) }

// hear passes on what a process says, until it has ended.
func (r *run) hear(c int, k *child) {
	r.listen.Go(func() {
		for s := range k.said {
			r.heard <- heard{client: c, said: s}
		}
	})
}

// begin lets the clients work and the faults come.
func (r *run) begin() error {
	r.origin, r.epoch = stamp(), uint64(time.Now().UnixMicro())
	r.plot()
	for _, k := range r.clients {
		if err := k.tell(command{Start: true}); err != nil {
			return err
		}
	}
	return nil
}

// plot plans the faults. Those of the first moment are there before the clients.
func (r *run) plot() {
	var first sync.WaitGroup
	for i := range r.cfg.Faults {
		f := &r.cfg.Faults[i]
		r.planBackups(f)
		switch {
		case f.On != "":
			r.waiting = append(r.waiting, *f)
		case f.At == 0:
			first.Go(func() { r.happen(f) })
		default:
			r.later(f.At, func() { r.happen(f) })
		}
	}
	first.Wait()
}

// planBackups sees to it that there is a copy of the data to put back, of the age
// that a fault wants, and that a replica lags.
func (r *run) planBackups(f *sim.Fault) {
	if f.Losing == 0 {
		return
	}
	for _, n := range indices(f.Node, len(r.hosts)) {
		do := func() {
			r.turns[n].Lock()
			defer r.turns[n].Unlock()
			if f.Verb == sim.Failover {
				r.failed(r.lag(n))
				return
			}
			backup, err := r.hosts[n].server.Backup()
			r.failed(err)
			r.mu.Lock()
			r.backups[f.String()+fmt.Sprint(n)] = backup
			r.mu.Unlock()
		}
		if f.On != "" || f.At <= f.Losing {
			do()
			continue
		}
		r.later(f.At-f.Losing, do)
	}
}

// later does something in a while, unless all is healed by then.
func (r *run) later(in time.Duration, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending++
	r.timers = append(r.timers, time.AfterFunc(in, func() {
		r.mu.Lock()
		r.pending--
		if r.healed {
			r.mu.Unlock()
			return
		}
		r.busy.Add(1)
		r.mu.Unlock()
		defer r.busy.Done()
		do()
	}))
}

// happen lets a fault strike, and end in time.
func (r *run) happen(f *sim.Fault) {
	r.note(sim.Deed{At: r.since(), Kind: sim.Strikes, Fault: plain(f)})
	r.failed(r.strike(f))
	if f.For > 0 {
		r.later(f.For, func() {
			r.failed(r.mend(f))
			r.note(sim.Deed{At: r.since(), Kind: sim.Mends, Fault: plain(f)})
		})
	}
}

// plain is a fault without its time.
func plain(f *sim.Fault) string {
	p := *f
	p.At, p.On = 0, ""
	return p.String()
}

func (r *run) failed(err error) {
	if err == nil || r.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

// broke says that something of the harness failed.
func (r *run) broke() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.errs) > 0
}

func (r *run) note(d sim.Deed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, d)
}

func (r *run) isHealed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.healed
}

// follow listens to everybody until something holds, a time has come, or the run is
// over. It reports whether it holds.
func (r *run) follow(holds func() bool, until time.Duration) bool {
	timer := time.NewTimer(until - r.since())
	defer timer.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case h := <-r.heard:
			r.take(h)
		case <-look.C:
			if holds() || r.broke() {
				return true
			}
		case <-timer.C:
			return holds()
		case <-r.ctx.Done():
			return false
		}
	}
}

// take takes down what a process said.
func (r *run) take(h heard) {
	switch {
	case h.Error != "":
		r.failed(errors.New(h.Error))
	case h.Sample != nil:
		h.Sample.At -= r.origin
		r.samples = append(r.samples, *h.Sample)
	case h.Signal != "":
		r.pull(h)
	case h.Deed != nil:
		d := *h.Deed
		d.At -= r.origin
		if d.Until > 0 {
			d.Until -= r.origin
		}
		r.note(d)
		if d.Client >= 0 && d.Client < len(r.clients) {
			r.clients[d.Client].count(&d, r.isHealed())
		}
	}
}

// pull lets the faults that waited for a client to get somewhere strike, and then
// the client go on.
func (r *run) pull(h heard) {
	var now []sim.Fault
	r.mu.Lock()
	if !r.healed {
		r.waiting = slices.DeleteFunc(r.waiting, func(f sim.Fault) bool {
			mine := signalOf(&f) == h.Signal && (f.OnClient == h.client || f.OnClient == everybody)
			if mine {
				now = append(now, f)
			}
			return mine
		})
	}
	r.mu.Unlock()
	k := r.clients[h.client]
	for i := range now {
		f := &now[i]
		if f.At > 0 {
			r.later(f.At, func() { r.happen(f) })
			continue
		}
		r.happen(f)
	}
	_ = k.tell(command{Go: h.Gate}) // it may have been killed
}

// finished says that nothing more is to come of the plan: the faults are over, and
// every program has done what it was to do.
func (r *run) finished() bool {
	r.mu.Lock()
	pending := r.pending
	r.mu.Unlock()
	if pending > 0 || r.plan.Mixed != nil {
		return false
	}
	for c, k := range r.clients {
		w := r.work(c)
		if k.alive.Load() && (k.writes > 0 || w.Times == 0 || k.done < w.Times) {
			return false
		}
	}
	return true
}

func (r *run) work(c int) *sim.Work {
	if c < len(r.cfg.Plans) {
		return &r.cfg.Plans[c]
	}
	return &r.cfg.Work
}

// served says that every client that wants a lease had one since all was healed.
func (r *run) served() bool {
	for c := range r.clients {
		if r.wants(c) && r.clients[c].wins == 0 {
			return false
		}
	}
	return true
}

func (r *run) wants(c int) bool {
	k, w := r.clients[c], r.work(c)
	return k.alive.Load() && !w.Idle && (r.plan.Mixed != nil || w.Times == 0 || k.takes < w.Times)
}

// heal ends all faults: from now on everybody must get the lock.
func (r *run) heal() {
	r.mu.Lock()
	r.healed = true
	for _, t := range r.timers {
		t.Stop()
	}
	r.mu.Unlock()
	r.busy.Wait()
	for c := range r.links {
		for _, p := range r.links[c] {
			p.MendAll()
			r.lengthen(p)
		}
		r.stores[c].MendAll()
	}
	for n, h := range r.hosts {
		r.failed(r.revive(n, h))
	}
	for _, k := range r.clients {
		k.melt()
	}
	r.note(sim.Deed{At: r.since(), Kind: sim.Heals})
	for _, k := range r.clients {
		if k.alive.Load() {
			_ = k.tell(command{Heal: true})
		}
	}
}

// revive brings a server back, but for one whose place a replica has taken.
func (r *run) revive(n int, h *host) error {
	r.turns[n].Lock()
	defer r.turns[n].Unlock()
	if h.server.Running() {
		_ = h.server.Thaw()
		if h.kind == sim.TTLServer {
			_, err := server.RedisCommand(h.server.Addr(), "CONFIG SET maxmemory 0")
			return err
		}
		return nil
	}
	if r.replicas[n] != nil {
		return nil
	}
	if err := h.server.Start(); err != nil {
		return err
	}
	return h.prepare(r.ctx)
}

// starve notes who did not get the lock in time.
func (r *run) starve(quiet time.Duration) {
	for c, k := range r.clients {
		if r.wants(c) && k.wins == 0 {
			r.note(sim.Deed{At: r.since(), Kind: sim.Starves, Client: c, Key: r.keys[0],
				Text: fmt.Sprintf("c%d has not got the lock for %v after all faults ended", c+1, quiet)})
		}
	}
}

// stop ends the clients, each in its own time, and hears them out.
func (r *run) stop() {
	var ending sync.WaitGroup
	for c, k := range r.clients {
		if !k.alive.Swap(false) {
			continue
		}
		ending.Go(func() {
			if err := k.current().end(15 * time.Second); err != nil {
				r.note(sim.Deed{At: r.since(), Kind: sim.Remains, Key: r.keys[0], Text: fmt.Sprintf("c%d: %v", c+1, err)})
			}
		})
	}
	over := make(chan struct{})
	go func() {
		ending.Wait()
		if r.store != nil {
			_ = r.store.end(5 * time.Second)
		}
		r.listen.Wait()
		close(over)
	}()
	for {
		select {
		case h := <-r.heard:
			r.take(h)
		case <-over:
			for len(r.heard) > 0 {
				r.take(<-r.heard)
			}
			return
		}
	}
}

// close ends whatever is left of the run.
func (r *run) close() {
	r.mu.Lock()
	r.healed = true
	for _, t := range r.timers {
		t.Stop()
	}
	r.mu.Unlock()
	r.busy.Wait()
	for _, k := range r.clients {
		if child := k.current(); child != nil {
			child.Kill()
		}
	}
	if r.store != nil {
		r.store.Kill()
	}
	over := make(chan struct{})
	go func() {
		r.listen.Wait()
		close(over)
	}()
	for ended := false; !ended; {
		select {
		case <-r.heard:
		case <-over:
			ended = true
		}
	}
	for c := range r.links {
		for _, p := range r.links[c] {
			p.Close()
		}
	}
	for _, p := range r.stores {
		p.Close()
	}
	for _, replica := range r.replicas {
		replica.Close()
	}
}

// killClient ends a client's process at once.
func (r *run) killClient(c int) error {
	if r.clients[c].kill() {
		r.note(sim.Deed{At: r.since(), Kind: sim.Dies, Client: c})
	}
	return nil
}

// restartClient starts it again, as another process.
func (r *run) restartClient(c int) error {
	k := r.clients[c]
	if k.alive.Load() {
		return nil
	}
	if err := r.startClient(c, k.life+1); err != nil {
		return err
	}
	return k.tell(command{Start: true})
}

// lookForLeftovers asks the servers themselves whether anything is still locked,
// once every lease must have ended.
func (r *run) lookForLeftovers() {
	if r.ctx.Err() != nil {
		return
	}
	deadline := r.since() + 2*r.cfg.MaxTTL + 3*time.Second + r.setBack()
	for n, h := range r.hosts {
		if !h.server.Running() {
			continue
		}
		for _, key := range r.keys {
			for {
				ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
				s, err := h.admin.Inspect(ctx, key)
				cancel()
				if err == nil && !s.Held {
					break
				}
				if r.since() > deadline {
					r.note(sim.Deed{At: r.since(), Kind: sim.Remains, Key: key,
						Text: fmt.Sprintf("n%d keeps %s for another %v, though nobody uses it: %v", n+1, key, s.Remaining, err)})
					break
				}
				if !sleep(r.ctx, 50*time.Millisecond) {
					return
				}
			}
		}
	}
}
