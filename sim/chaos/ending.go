package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/sim"
)

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
