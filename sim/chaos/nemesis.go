package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/sim"
)

// strike lets a fault begin.
func (r *run) strike(f *sim.Fault) error {
	switch {
	case f.Store:
		for _, c := range indices(f.Client, len(r.clients)) {
			r.stores[c].Harm(server.ToServer, server.Harm{Delay: f.By})
		}
		return nil
	case f.Client != nobody && f.Node != nobody:
		return r.eachLink(f, func(c, n int, p *server.Proxy) error { return r.strikeLink(f, n, p) })
	case f.Client != nobody:
		return r.eachClient(f, (*run).strikeClient)
	}
	return r.eachNode(f, (*run).strikeNode)
}

// mend lets it end.
func (r *run) mend(f *sim.Fault) error {
	switch {
	case f.Store:
		for _, c := range indices(f.Client, len(r.clients)) {
			r.stores[c].Mend(server.ToServer, server.Harm{Delay: f.By})
		}
		return nil
	case f.Client != nobody && f.Node != nobody:
		return r.eachLink(f, func(c, n int, p *server.Proxy) error {
			eachDirection(f, func(d server.Direction) { p.Mend(d, harm(f)) })
			return nil
		})
	case f.Client != nobody:
		return r.eachClient(f, (*run).mendClient)
	}
	return r.eachNode(f, (*run).mendNode)
}

func (r *run) eachClient(f *sim.Fault, do func(*run, *sim.Fault, int) error) error {
	for _, c := range indices(f.Client, len(r.clients)) {
		if err := do(r, f, c); err != nil {
			return err
		}
	}
	return nil
}

// eachNode does it to all nodes at once: power fails everywhere at the same moment.
func (r *run) eachNode(f *sim.Fault, do func(*run, *sim.Fault, int) error) error {
	nodes := indices(f.Node, len(r.hosts))
	done := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() {
			r.turns[n].Lock()
			defer r.turns[n].Unlock()
			done <- do(r, f, n)
		}()
	}
	var first error
	for range nodes {
		if err := <-done; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (r *run) eachLink(f *sim.Fault, do func(c, n int, p *server.Proxy) error) error {
	for _, c := range indices(f.Client, len(r.clients)) {
		for _, n := range indices(f.Node, len(r.hosts)) {
			if err := do(c, n, r.links[c][n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// The directions of a fault's link.
const (
	toNode   = 0
	toClient = 1
)

func eachDirection(f *sim.Fault, do func(server.Direction)) {
	if f.Direction != toClient {
		do(server.ToServer)
	}
	if f.Direction != toNode {
		do(server.ToClient)
	}
}

// harm is what a fault of a link does to it while it lasts.
func harm(f *sim.Fault) server.Harm {
	switch f.Verb {
	case sim.Cut:
		return server.Harm{Lose: true}
	case sim.Hold:
		return server.Harm{Hold: true}
	case sim.Slow:
		return server.Harm{Delay: f.By}
	case sim.Shake:
		return server.Harm{Jitter: f.By}
	case sim.Slice:
		return server.Harm{Slice: f.Bytes}
	case sim.Throttle:
		return server.Harm{Bandwidth: f.Bytes}
	case sim.Idle:
		return server.Harm{Idle: f.By}
	}
	return server.Harm{}
}

func (r *run) strikeLink(f *sim.Fault, n int, p *server.Proxy) error {
	switch f.Verb {
	case sim.Reset:
		p.Reset()
		return nil
	case sim.Expire:
		return r.expire(n, p)
	}
	eachDirection(f, func(d server.Direction) { p.Harm(d, harm(f)) })
	return nil
}

// expire has a server end the sessions that a client has through a proxy.
func (r *run) expire(n int, p *server.Proxy) error {
	h := r.hosts[n]
	r.turns[n].Lock()
	defer r.turns[n].Unlock()
	if !h.answers() {
		return nil
	}
	switch h.kind {
	case sim.EphemeralNode:
		for _, head := range p.Heads() {
			if s, ok := server.ZooKeeperSessionOf(head); ok {
				_ = server.EndZooKeeperSession(r.ctx, h.server.Addr(), s) // it may have ended by itself, or the server be away
			}
		}
	case sim.LeaseRow, sim.SessionLock:
		return killConnections(r.ctx, h.server.Addr(), p.Ports())
	default:
		p.Reset()
	}
	return nil
}

// killConnections ends those connections of a MariaDB that come from the ports.
func killConnections(ctx context.Context, addr string, ports []int) error {
	db, err := sql.Open("mysql", server.MariaDBDSN(addr))
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "select id, host from information_schema.processlist")
	if err != nil {
		return err
	}
	defer rows.Close()
	var kill []int64
	for rows.Next() {
		var id int64
		var host string
		if err := rows.Scan(&id, &host); err != nil {
			return err
		}
		for _, port := range ports {
			if strings.HasSuffix(host, fmt.Sprintf(":%d", port)) {
				kill = append(kill, id)
			}
		}
	}
	for _, id := range kill {
		_, _ = db.ExecContext(ctx, fmt.Sprintf("kill %d", id)) // it may have ended by itself
	}
	return rows.Err()
}

func (r *run) strikeClient(f *sim.Fault, c int) error {
	k := r.clients[c]
	switch f.Verb {
	case sim.Pause:
		return k.freeze()
	case sim.Crash:
		return r.killClient(c)
	case sim.Nudge:
		return k.tell(command{Nudge: true})
	case sim.Aim:
		r.later(r.aim(f), func() { r.failed(k.tell(command{Nudge: true})) })
		return nil
	}
	return fmt.Errorf("chaos: %v cannot befall a client here", f.Verb)
}

// aim finds in how long the grants of another client end on the nodes, whose clocks
// may be fast.
func (r *run) aim(f *sim.Fault) time.Duration {
	fast := int64(0)
	for _, other := range r.cfg.Faults {
		if other.Verb == sim.Drift {
			fast = max(fast, other.PPM)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range slices.Backward(r.history) {
		if d.Client == f.Of && (d.Kind == sim.Takes || d.Kind == sim.Renews) {
			ttl := time.Duration(float64(r.cfg.TTL) * 1e6 / float64(1_000_000+fast))
			return d.At + ttl + f.By - r.since()
		}
	}
	return 0
}

func (r *run) mendClient(f *sim.Fault, c int) error {
	switch f.Verb {
	case sim.Pause:
		return r.clients[c].thaw()
	case sim.Crash:
		return r.restartClient(c)
	}
	return nil
}

func (r *run) strikeNode(f *sim.Fault, n int) error {
	h := r.hosts[n]
	switch f.Verb {
	case sim.Pause:
		if !h.server.Running() {
			return nil
		}
		return h.server.Freeze()
	case sim.Crash:
		return r.crash(f, n)
	case sim.Failover:
		return r.failover(n)
	case sim.Evict, sim.Flush, sim.Full:
		return h.press(f.Verb)
	case sim.Jump, sim.Drift:
		return r.setClock(f, h)
	}
	return fmt.Errorf("chaos: %v cannot befall a server here", f.Verb)
}

// answers says that a server can be told something.
func (h *host) answers() bool { return h.server.Running() && !h.server.Frozen() }

// press has a redis-server drop what it has, or refuse to take more. One that does not
// run has other troubles.
func (h *host) press(verb sim.Verb) error {
	if !h.answers() {
		return nil
	}
	switch verb {
	case sim.Evict:
		return evict(h.server.Addr())
	case sim.Flush:
		_, err := server.RedisCommand(h.server.Addr(), "FLUSHALL")
		return err
	}
	_, err := server.RedisCommand(h.server.Addr(), "CONFIG SET maxmemory 1")
	return err
}

func (r *run) setClock(f *sim.Fault, h *host) error {
	if h.kind == sim.EphemeralNode {
		return nil // nothing goes by its wall clock
	}
	if h.clock == nil {
		return r.cluster.noClock
	}
	h.dirty = true
	if f.Verb == sim.Jump {
		return h.clock.Jump(f.By)
	}
	return h.clock.SetRate(f.PPM)
}

// crash kills a server, and sees to what its data will be when it comes back.
func (r *run) crash(f *sim.Fault, n int) error {
	h := r.hosts[n]
	h.server.Kill()
	switch backup := r.backups[f.String()+fmt.Sprint(n)]; {
	case f.LosesAll:
		return h.server.Wipe()
	case backup != "":
		return h.server.PutBack(backup)
	}
	return nil
}

func (r *run) mendNode(f *sim.Fault, n int) error {
	h := r.hosts[n]
	switch f.Verb {
	case sim.Pause:
		if !h.server.Running() {
			return nil
		}
		return h.server.Thaw()
	case sim.Crash:
		if h.server.Running() {
			return nil
		}
		if err := h.server.Start(); err != nil {
			return err
		}
		if f.LosesAll {
			return h.prepare(r.ctx)
		}
	case sim.Full:
		if !h.answers() {
			return nil // it has no limit when it comes back; a frozen one is told when all is healed
		}
		_, err := server.RedisCommand(h.server.Addr(), "CONFIG SET maxmemory 0")
		return err
	case sim.Drift:
		if h.clock != nil && h.kind != sim.EphemeralNode {
			return h.clock.SetRate(0)
		}
	}
	return nil
}

// evict makes a redis-server drop what it has, as one does that is short of memory
// and was set up to.
func evict(addr string) error {
	for _, command := range []string{"CONFIG SET maxmemory-policy allkeys-random", "CONFIG SET maxmemory 1"} {
		if _, err := server.RedisCommand(addr, command); err != nil {
			return err
		}
	}
	for range 200 {
		if size, err := server.RedisCommand(addr, "DBSIZE"); err != nil || size == ":0" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, command := range []string{"CONFIG SET maxmemory 0", "CONFIG SET maxmemory-policy noeviction"} {
		if _, err := server.RedisCommand(addr, command); err != nil {
			return err
		}
	}
	return nil
}

// replicate starts a replica of a redis-server, for a failover to come.
func (r *run) replicate(n int) error {
	h := r.hosts[n]
	if _, err := server.RedisCommand(h.server.Addr(), "CONFIG SET repl-diskless-sync-delay 0"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.cluster.dir, "replica")
	if err != nil {
		return err
	}
	replica, err := server.StartRedis(dir, nil, "--replicaof", "127.0.0.1 "+fmt.Sprint(h.server.Port()))
	if err != nil {
		return err
	}
	r.replicas[n] = replica
	for range 1000 {
		if strings.Contains(replica.Log(), "sync: Finished with success") {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("chaos: a replica did not come up:\n%s", replica.Log())
}

// lag cuts a replica off, so that it lacks what its master gets from now on.
func (r *run) lag(n int) error {
	_, err := server.RedisCommand(r.replicas[n].Addr(), "REPLICAOF NO ONE")
	return err
}

// failover kills the master and leads its clients to the replica.
func (r *run) failover(n int) error {
	r.hosts[n].server.Kill()
	for c := range r.clients {
		r.links[c][n].SetTarget(r.replicas[n].Addr())
		r.links[c][n].Reset()
	}
	return nil
}
