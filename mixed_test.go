package redlock_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/memnode"
	"github.com/quorumlock/redlock/mysqlnode"
	"github.com/quorumlock/redlock/redisnode"
	"github.com/quorumlock/redlock/zknode"
)

// mixed is a quorum of one node of each kind, and how to kill and restart what is
// behind them.
type mixed struct {
	nodes    []redlock.Node
	restarts []func()
	closes   []func() // of the servers
}

func newMixed(t *testing.T) *mixed {
	t.Helper()
	redisServer := testserver.StartRedis(t)
	leases, sessions := testserver.StartMariaDB(t), testserver.StartMariaDB(t)
	keeper := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: 10 * time.Second})
	memory := memnode.New(memnode.Options{})
	m := &mixed{
		nodes: []redlock.Node{
			redisnode.New(nil, redisnode.Options{Addr: redisServer.Addr()}),
			mysqlnode.New(nil, mysqlnode.Options{DSN: leases.DSN(), Name: "rows"}),
			mysqlnode.New(nil, mysqlnode.Options{DSN: sessions.DSN(), Name: "sessions", Mode: mysqlnode.Session}),
			zknode.New(nil, zknode.Options{Servers: []string{keeper.Addr()}, SessionTimeout: 10 * time.Second, Durable: true}),
			memory,
		},
		restarts: []func(){redisServer.Restart, leases.Restart, sessions.Restart, keeper.Restart, memory.Restart},
		closes:   []func(){redisServer.Close, leases.Close, sessions.Close, keeper.Close},
	}
	for _, node := range m.nodes {
		if n, ok := node.(interface{ Init(context.Context) error }); ok {
			require.NoError(t, n.Init(t.Context()))
		}
	}
	return m
}

func (m *mixed) close(t *testing.T) {
	t.Helper()
	for _, node := range m.nodes {
		if closer, ok := node.(io.Closer); ok {
			require.NoError(t, closer.Close())
		}
	}
	for _, end := range m.closes {
		end()
	}
}

// Nodes of every kind make one quorum: different speeds, grains of TTL, clocks,
// and ways to forget. Each server in turn is killed and comes back, and nobody
// holds together with another, no token goes back, and nothing is left.
func TestMixedQuorum(t *testing.T) {
	duration, pause := 30*time.Second, 4*time.Second
	if testing.Short() {
		duration, pause = 6*time.Second, time.Second
	}
	before := goleak.IgnoreCurrent()
	m := newMixed(t)
	var votes sync.Mutex
	granted := map[string]int{}
	l, err := redlock.New(m.nodes, redlock.Options{TTL: 3 * time.Second, MaxTTL: 3 * time.Second, NodeTimeout: time.Second, OutageWait: -1,
		Observer: observe(func(e redlock.Event) {
			if e.Kind == redlock.EventVote && e.Op == "acquire" && e.Outcome == redlock.Granted {
				votes.Lock()
				granted[e.Node]++
				votes.Unlock()
			}
		})})
	require.NoError(t, err)

	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(pause):
				m.restarts[i%len(m.restarts)]()
			}
		}
	}()
	crowd := newCrowd(20)
	crowd.run(t, l, 200, duration)
	close(stop)
	<-done
	require.NoError(t, l.Close(context.Background()))
	crowd.check(t)
	t.Logf("votes granted: %v", granted)
	assert.Len(t, granted, len(m.nodes), "every kind takes part")
	m.checkClean(t)
	m.close(t)
	goleak.VerifyNone(t, before)
}

// checkClean waits until no node holds any key. A node whose server was just
// restarted may keep one for a TTL, where a release did not get through.
func (m *mixed) checkClean(t *testing.T) {
	t.Helper()
	for _, node := range m.nodes {
		assert.Eventually(t, func() bool {
			for i := range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				state, err := node.Inspect(ctx, fmt.Sprintf("key-%d", i))
				cancel()
				if err != nil || state.Held {
					return false
				}
			}
			return true
		}, 30*time.Second, 100*time.Millisecond, "%s is clean", node.Name())
	}
}
