package chaos

import (
	"context"
	"errors"
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
	Mixed   *Mix            // instead of Config's work
	Quiet   time.Duration   // how long it takes to settle after the faults, at the most; default 10 s and 4 times MaxTTL
	Enough  <-chan struct{} // once closed, all faults end early
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
	r.follow(func() bool { return r.finished() || r.enough() }, r.cfg.HealAt)
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

// enough says that nobody wants to see more faults.
func (r *run) enough() bool {
	select {
	case <-r.plan.Enough:
		return true
	default:
		return false
	}
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
