package zknode_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodetest"
	"github.com/quorumlock/redlock/zknode"
)

// Several clients of a server, whose connections are sound or break at any time, or
// which is killed.
func TestHistories(t *testing.T) {
	t.Parallel()
	s := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: longSession})
	for name, oneIn := range map[string]int{"sound": 0, "unsound": 150, "killed": 0} {
		t.Run(name, func(t *testing.T) {
			var faults testserver.Unsound
			faults.Break(oneIn)
			var clients []redlock.Node
			for range 4 {
				clients = append(clients, node(t, s.Addr(), session(longSession), func(o *zknode.Options) {
					o.Root = "/" + name
					o.Dialer = func(network, addr string, _ time.Duration) (net.Conn, error) {
						return faults.Dial(context.Background(), network, addr)
					}
				}))
			}
			if name == "killed" {
				defer s.RestartOften(2 * time.Second)()
			}
			nodetest.Linearizable(t, clients, 60)
			faults.Break(0)
		})
	}
}

// Clients of different servers of an ensemble, which lag behind each other, or die.
func TestHistoriesOfAnEnsemble(t *testing.T) {
	t.Parallel()
	servers := testserver.StartZooKeeperEnsemble(t, 3, testserver.ZooKeeperOptions{MaxSession: longSession})
	knock(t, servers)
	// What a leader has let others know is not at once what it tells its own clients,
	// and no request makes that certain but a write.
	followers := slices.DeleteFunc(slices.Clone(servers), leads)
	require.Len(t, followers, 2)
	for name, tc := range map[string]struct {
		servers []*testserver.ZooKeeper
		harm    func(s *testserver.ZooKeeper)
	}{
		"sound": {followers, nil},
		"lagging": {followers, func(s *testserver.ZooKeeper) {
			assert.NoError(t, s.Freeze())
			time.Sleep(rand.N(200 * time.Millisecond))
			assert.NoError(t, s.Thaw())
			time.Sleep(rand.N(50 * time.Millisecond))
		}},
		"killed": {servers, func(s *testserver.ZooKeeper) {
			assert.NoError(t, s.Server.Server.Restart())
			time.Sleep(time.Second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var clients []redlock.Node
			for i := range 4 {
				var addrs []string
				for j := range tc.servers {
					addrs = append(addrs, tc.servers[(i+j)%len(tc.servers)].Addr())
				}
				clients = append(clients, node(t, "", session(longSession), func(o *zknode.Options) { o.Root, o.Servers = "/"+name, addrs }))
			}
			done := make(chan struct{})
			var harming sync.WaitGroup
			if tc.harm != nil {
				harming.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
							tc.harm(tc.servers[rand.N(len(tc.servers))])
						}
					}
				})
			}
			defer harming.Wait()
			defer close(done)
			nodetest.Linearizable(t, clients, 60)
		})
	}
}

// leads says that a server is its ensemble's leader.
func leads(s *testserver.ZooKeeper) bool {
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("srvr"))
	answer, _ := io.ReadAll(conn)
	return strings.Contains(string(answer), "Mode: leader")
}

// knock asks each server for something now and then. ZooKeeper 3.8.0 lets a request lie,
// seldom, until another one comes.
func knock(t *testing.T, servers []*testserver.ZooKeeper) {
	done := make(chan struct{})
	var knocking sync.WaitGroup
	for _, s := range servers {
		conn := connect(t, s.Addr(), longSession)
		knocking.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
					_, _, _ = conn.Exists("/")
				}
			}
		})
	}
	t.Cleanup(func() {
		close(done)
		knocking.Wait()
	})
}
