package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/redisnode"
)

const embeddedNodes = 5

// server is an embedded server that speaks the Redis protocol on a loopback port.
//
// Killed, it closes its port and cuts all connections, but keeps its data, and
// its TTLs run on: it comes back as a durable server does, with every grant it
// ever gave. One that came back empty could grant a key that is still held, and
// an embedded server cannot tell its age, by which redisnode bars such a one.
type server struct {
	name  string
	addr  string
	redis *miniredis.Miniredis
}

func startServers(n int) ([]*server, error) {
	var servers []*server
	for i := range n {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		if err := m.StartAddr("127.0.0.1:0"); err != nil {
			stopServers(servers)
			return nil, fmt.Errorf("starting an embedded server: %w", err)
		}
		servers = append(servers, &server{name: fmt.Sprintf("node-%d", i+1), addr: m.Addr(), redis: m})
	}
	return servers, nil
}

func stopServers(servers []*server) {
	for _, s := range servers {
		s.kill()
	}
}

func (s *server) kill() { s.redis.Close() }

// revive brings a killed server back at its old address. Something else may have
// been given the port meanwhile, for a moment: so it tries again.
func (s *server) revive(ctx context.Context, clock redlock.Clock) error {
	for tries := 0; ; tries++ {
		err := s.redis.Restart()
		if err == nil {
			return nil
		}
		if tries == 20 || sleep(ctx, clock, 50*time.Millisecond) != nil {
			return fmt.Errorf("bringing %s back: %w", s.name, err)
		}
	}
}

// dialServers connects one worker to the embedded servers.
func dialServers(servers []*server) Open {
	return func(context.Context) ([]redlock.Node, func() error, error) {
		var nodes []redlock.Node
		var closers closers
		for _, s := range servers {
			n := redisnode.New(nil, redisnode.Options{Addr: s.addr, Name: s.name, Durable: true})
			nodes = append(nodes, n)
			closers.add(n.Close)
		}
		return nodes, closers.closeAll, nil
	}
}

func names(nodes []redlock.Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name()
	}
	return names
}

// inspect asks all nodes at once for the state of the demo's key.
func (d *demo) inspect(ctx context.Context) []redlock.NodeState {
	ctx, cancel := d.Clock.WithTimeout(ctx, 2*d.ttl)
	defer cancel()
	states := make([]redlock.NodeState, len(d.audit))
	var asking sync.WaitGroup
	for i, n := range d.audit {
		asking.Go(func() {
			state, err := n.Inspect(ctx, d.key)
			state.Node, state.Err = n.Name(), err
			states[i] = state
		})
	}
	asking.Wait()
	return states
}

// reachable refuses to begin if no majority of the nodes answers: there would be
// nothing to see.
func (d *demo) reachable(ctx context.Context) error {
	var errs []error
	states := d.inspect(ctx)
	for _, s := range states {
		if s.Err != nil {
			errs = append(errs, s.Err)
		}
	}
	if 2*len(errs) < len(states) || ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %d of %d nodes answer, a majority must\n%w",
		redlock.ErrNoQuorum, len(states)-len(errs), len(states), errors.Join(errs...))
}

// leftovers tells on which nodes the key is still locked, and which did not
// answer. A node may keep a grant for a TTL if neither the acquire nor the
// release that followed was answered in time, so it is given that long.
func (d *demo) leftovers(ctx context.Context) (locked, silent []string) {
	for waited := time.Duration(0); ; waited += d.ttl / 10 {
		locked, silent = nil, nil
		for _, s := range d.inspect(ctx) {
			switch {
			case s.Err != nil:
				silent = append(silent, s.Node)
			case s.Held:
				locked = append(locked, s.Node)
			}
		}
		if len(locked) == 0 || waited > d.ttl || sleep(ctx, d.Clock, d.ttl/10) != nil {
			return locked, silent
		}
	}
}

func (d *demo) checkLeftovers(ctx context.Context) Check {
	locked, silent := d.leftovers(ctx)
	c := Check{Name: "clean nodes", Status: Held, Detail: fmt.Sprintf("no lock key left on any of %d nodes", len(d.audit))}
	switch {
	case len(locked) > 0:
		c.Status, c.Detail = Failed, "a lock key is left on "+strings.Join(locked, ", ")
	case 2*len(silent) >= len(d.audit):
		c.Status, c.Detail = Failed, "cannot tell: no answer from "+strings.Join(silent, ", ")
	case len(silent) > 0:
		c.Detail = fmt.Sprintf("no lock key left on %d nodes; no answer from %s", len(d.audit)-len(silent), strings.Join(silent, ", "))
	}
	return c
}
