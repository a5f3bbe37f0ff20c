package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/nodeurl"
	"github.com/quorumlock/redlock/sim"
)

// Cluster is the servers of all kinds that runs need, each started when it is first
// asked for and kept for the runs that follow. It takes one run at a time.
type Cluster struct {
	dir     string
	own     bool   // the directory is
	library string // of the servers' clocks
	noClock error  // why there is none

	mu      sync.Mutex
	servers map[string]*host
}

// host is a server, its clock, and its node for this process's own use, which no
// fault of a link concerns.
type host struct {
	kind   sim.Kind
	server *server.Server
	clock  *server.Clock // nil where there is none
	admin  redlock.Node
	dirty  bool // its clock was set
}

// New makes a cluster that keeps its files below dir, or in a temporary directory
// that is removed.
func New(dir string) (*Cluster, error) {
	if runtime.GOOS == "windows" {
		return nil, errors.New("chaos: processes cannot be frozen on Windows: run it on Linux or another Unix")
	}
	c := &Cluster{dir: dir, servers: map[string]*host{}}
	if dir == "" {
		made, err := os.MkdirTemp("", "redlock-chaos")
		if err != nil {
			return nil, err
		}
		c.dir, c.own = made, true
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if c.library, c.noClock = server.ClockLibrary(c.dir); c.noClock != nil {
		c.library = ""
	}
	return c, nil
}

// Clocks says why servers' clocks cannot be set here, or nothing.
func (c *Cluster) Clocks() error { return c.noClock }

// Close ends all servers.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.servers {
		h.close()
	}
	c.servers = map[string]*host{}
	if c.own {
		_ = os.RemoveAll(c.dir)
	}
}

func (h *host) close() {
	if closer, ok := h.admin.(io.Closer); ok {
		_ = closer.Close()
	}
	if h.server != nil {
		h.server.Close()
	}
	if h.clock != nil {
		_ = h.clock.Close()
	}
}

// host gives the i-th server of a kind, and starts it if need be.
func (c *Cluster) host(kind sim.Kind, i int) (*host, error) {
	name := fmt.Sprintf("%v-%d", kind, i+1)
	c.mu.Lock()
	h := c.servers[name]
	c.mu.Unlock()
	if h != nil {
		return h, nil
	}
	h, err := c.start(kind, filepath.Join(c.dir, name))
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name] = h
	return h, nil
}

func (c *Cluster) start(kind sim.Kind, dir string) (*host, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &host{kind: kind}
	var err error
	if c.library != "" && kind != sim.EphemeralNode {
		if h.clock, err = server.NewClock(c.library, filepath.Join(dir, "clock")); err != nil {
			return nil, err
		}
	}
	if h.server, err = startServer(kind, dir, h.clock); err == nil {
		h.admin, err = nodeurl.Open(context.Background(), urlOf(kind, h.server.Addr(), "admin", 2*time.Second))
	}
	if err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// startServer starts a server that keeps its data on the file system, so that they
// can be kept, lost or put back. None of them waits for the disk: a kill loses
// nothing that was written.
func startServer(kind sim.Kind, dir string, clock *server.Clock) (*server.Server, error) {
	switch kind {
	case sim.TTLServer:
		return server.StartRedis(dir, clock, "--appendonly", "yes", "--appendfsync", "everysec")
	case sim.LeaseRow, sim.SessionLock:
		return server.StartMariaDB(dir, clock, "--innodb-flush-method=nosync")
	}
	return server.StartZooKeeper(dir, clock, server.ZooKeeperOptions{MaxSession: 30 * time.Second})
}

// urlOf is a node's URL for a client that reaches the server at addr. None is
// declared durable: they tell by themselves what they may have lost.
func urlOf(kind sim.Kind, addr, name string, ttl time.Duration) string {
	switch kind {
	case sim.TTLServer:
		return "redis://" + addr + "?name=" + name
	case sim.LeaseRow:
		return "mysql://root@" + addr + "/" + server.MariaDBDatabase + "?name=" + name
	case sim.SessionLock:
		return "mysql://root@" + addr + "/" + server.MariaDBDatabase + "?mode=session&name=" + name
	}
	// The adapter asks for a session of 4/3 of the TTL at least.
	return fmt.Sprintf("zk://%s/redlock?name=%s&session=%v", addr, name, max(400*time.Millisecond, ttl*3/2))
}

// members are the servers of a quorum, which start side by side. Kinds share none of
// them: two kinds of locks on one MariaDB are one voter.
func (c *Cluster) members(kinds []sim.Kind, alias bool) ([]*host, error) {
	hosts := make([]*host, len(kinds))
	used := map[sim.Kind]int{}
	var starting errgroup.Group
	for i, kind := range kinds {
		if alias && i == len(kinds)-1 {
			continue
		}
		number := used[kind]
		used[kind]++
		starting.Go(func() (err error) {
			hosts[i], err = c.host(kind, number)
			return err
		})
	}
	if err := starting.Wait(); err != nil {
		return nil, err
	}
	if alias {
		hosts[len(hosts)-1] = hosts[0]
	}
	return hosts, nil
}

// settle brings servers back to health, and waits until all of them vote.
func settle(ctx context.Context, hosts []*host, maxTTL time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for _, h := range hosts {
		if err := h.mend(ctx); err != nil {
			return err
		}
	}
	for _, h := range hosts {
		if err := h.comeOfAge(ctx, maxTTL); err != nil {
			return err
		}
	}
	return nil
}

// mend lets a server run, with the machine's time and with the tables it needs.
func (h *host) mend(ctx context.Context) error {
	if h.server.Running() {
		_ = h.server.Thaw()
	}
	if h.dirty {
		h.server.Kill()
		if err := errors.Join(h.clock.SetRate(0), h.clock.Set(0)); err != nil {
			return err
		}
		h.dirty = false
	}
	if !h.server.Running() {
		if err := h.server.Start(); err != nil {
			return err
		}
	}
	return h.prepare(ctx)
}

// prepare makes the tables.
func (h *host) prepare(ctx context.Context) error {
	node, ok := h.admin.(interface{ Init(context.Context) error })
	if !ok {
		return nil
	}
	for {
		err := node.Init(ctx)
		if err == nil || ctx.Err() != nil || !sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// comeOfAge waits until a server has been up for as long as a grant can last, in the
// eyes of a client that is new to it: it may take a server for younger than one does
// that saw it start.
func (h *host) comeOfAge(ctx context.Context, maxTTL time.Duration) error {
	grown := maxTTL + maxTTL/50 + 50*time.Millisecond
	for {
		s, err := h.ask(ctx)
		wait := 50 * time.Millisecond
		if err == nil && s.Incarnation != "" {
			if s.Age == 0 || s.Age >= grown {
				return nil
			}
			wait = min(grown-s.Age, 250*time.Millisecond)
		}
		if !sleep(ctx, wait) {
			return fmt.Errorf("chaos: a node of kind %v, up for %v, does not vote yet: %w", h.kind, s.Age, errors.Join(err, ctx.Err()))
		}
	}
}

// ask has a new client look at a server.
func (h *host) ask(ctx context.Context) (redlock.NodeState, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	node, err := nodeurl.Open(ctx, urlOf(h.kind, h.server.Addr(), "new", 2*time.Second))
	if err != nil {
		return redlock.NodeState{}, err
	}
	defer node.(io.Closer).Close()
	s, err := node.Inspect(ctx, "age")
	if err == nil && s.Incarnation == "" {
		// A ZooKeeper root is made with the first lock.
		_, err = node.Acquire(ctx, redlock.AcquireRequest{Key: "age", Owner: "00000000000000000000000000000000", TTL: time.Millisecond})
	}
	return s, err
}
