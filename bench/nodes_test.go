package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/mysqlnode"
	"github.com/quorumlock/redlock/redisnode"
	"github.com/quorumlock/redlock/zknode"
)

const nodeCount = 5

func TestMain(m *testing.M) {
	logging.Disable() // bad nodes are on purpose
	os.Exit(m.Run())
}

// setting is where a benchmark runs: five nodes of one kind.
type setting struct {
	name string
	// start starts what the nodes stand for. Each call of connect that it returns
	// gives nodes with connections of their own, as another process would have.
	start func(b *testing.B) (connect func() []redlock.Node, servers []breakable)
}

// breakable is what is behind one node, as far as a benchmark breaks it.
type breakable interface {
	stop()  // it takes requests and answers none
	close() // it refuses connections
	mend()
}

var settings = []setting{{"memory", startMemory}, {"redis", startRedis}}

// on runs a benchmark in each setting.
func on(b *testing.B, run func(b *testing.B, connect func() []redlock.Node, servers []breakable)) {
	for _, s := range settings {
		b.Run(s.name, func(b *testing.B) {
			connect, servers := s.start(b)
			run(b, connect, servers)
		})
	}
}

type memory struct{ *memnode.Node }

func (m memory) stop()  { m.Hang(true) }
func (m memory) close() { m.SetDown(errors.New("connection refused")) }
func (m memory) mend()  { m.Hang(false); m.SetDown(nil) }

func startMemory(*testing.B) (func() []redlock.Node, []breakable) {
	nodes := memnode.NewN(nodeCount, memnode.Options{Name: "memory"})
	var all []breakable
	for _, n := range nodes {
		all = append(all, memory{n.(*memnode.Node)})
	}
	return func() []redlock.Node { return nodes }, all
}

type redisServer struct{ *testserver.Redis }

func (r redisServer) stop()  { r.Stop() }
func (r redisServer) close() { r.Kill() }
func (r redisServer) mend()  { r.Close() }

func startRedis(b *testing.B) (func() []redlock.Node, []breakable) {
	b.Helper()
	var servers []breakable
	var addrs []string
	for range nodeCount {
		s := testserver.StartRedis(b)
		servers, addrs = append(servers, redisServer{s}), append(addrs, s.Addr())
	}
	return func() []redlock.Node {
		var nodes []redlock.Node
		for _, addr := range addrs {
			// Declared durable because else they would be too young to vote.
			nodes = append(nodes, closed(b, redisnode.New(nil, redisnode.Options{Addr: addr, Durable: true})))
		}
		return nodes
	}, servers
}

// startMixed makes a quorum of all kinds of nodes.
func startMixed(b *testing.B) []redlock.Node {
	b.Helper()
	leases, sessions := testserver.StartMariaDB(b), testserver.StartMariaDB(b)
	keeper := testserver.StartZooKeeper(b, testserver.ZooKeeperOptions{MaxSession: 20 * time.Second})
	nodes := []redlock.Node{
		redisnode.New(nil, redisnode.Options{Addr: testserver.StartRedis(b).Addr(), Durable: true}),
		mysqlnode.New(nil, mysqlnode.Options{DSN: leases.DSN(), Name: "rows", Durable: true}),
		mysqlnode.New(nil, mysqlnode.Options{DSN: sessions.DSN(), Name: "sessions", Mode: mysqlnode.Session}),
		zknode.New(nil, zknode.Options{Servers: []string{keeper.Addr()}, SessionTimeout: 15 * time.Second, Durable: true}),
		memnode.New(memnode.Options{Durable: true}),
	}
	for _, n := range nodes {
		closed(b, n)
		if n, ok := n.(interface{ Init(context.Context) error }); ok {
			require.NoError(b, n.Init(b.Context()))
		}
	}
	return nodes
}

// closed closes a node when the benchmark ends, if it can be.
func closed(b *testing.B, n redlock.Node) redlock.Node {
	if c, ok := n.(io.Closer); ok {
		b.Cleanup(func() { _ = c.Close() })
	}
	return n
}

// locker makes a Locker that is closed before its nodes are.
func locker(b *testing.B, nodes []redlock.Node, opts redlock.Options) *redlock.Locker {
	b.Helper()
	l, err := redlock.New(nodes, opts)
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = l.Close(ctx)
	})
	return l
}
