package zknode_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/zknode"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"orders":              "orders",
		"reports/2026-11":     "reports%2F2026-11",
		".":                   "%2E",
		"..":                  "%2E.",
		"a.b":                 "a.b",
		"100%":                "100%25",
		"\x00\xffé":           "%00%FF%C3%A9",
		"zookeeper":           "zookeeper",
		" ":                   "%20",
		"user:1,region=eu+@!": "user:1,region=eu+@!",
	} {
		require.Equal(t, want, zknode.Escape(key))
	}
}

// Every key has a name of its own that ZooKeeper takes.
func TestKeysOfAnyBytes(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	keys := []string{".", "..", "...", "zookeeper", "lease", "swept", "locks", "/", "//", "a/b", "%", "%2F", "/lease", strings.Repeat("\xff", redlock.MaxKeyLength)}
	for b := range 256 {
		keys = append(keys, string([]byte{byte(b)}), string([]byte{'x', byte(b), 'x'}))
	}
	seen := map[string]bool{}
	for _, key := range keys {
		if name := zknode.Escape(key); !seen[name] {
			seen[name] = true
		} else {
			require.Contains(t, keys[:len(keys)-1], key, "%q shares its name", key)
			continue // a key of one byte that is in the list already
		}
		require.True(t, acquire(t, n, key, 1).Granted, "%q", key)
		require.Equal(t, owner(1), inspect(t, n, key).Owner)
	}
	require.Len(t, keysAt(t, conn, "/redlock"), len(seen))
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		a, b := randomKey(random), randomKey(random)
		require.Equal(t, a == b, zknode.Escape(a) == zknode.Escape(b))
	}
}

func randomKey(random *rand.Rand) string {
	const bytes = "%.2F/E5\x00a"
	key := make([]byte, 1+random.IntN(3))
	for i := range key {
		key[i] = bytes[random.IntN(len(bytes))]
	}
	return string(key)
}

// What people see with zkCli, and what other programs agree on.
func TestLayout(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr(), func(o *zknode.Options) { o.Root = "/prod/app/locks/" }), connect(t, s.Addr(), time.Minute)
	require.Equal(t, s.Addr()+"/prod/app/locks", n.Name())
	state := inspect(t, n, "a/b")
	require.Zero(t, state.Incarnation, "looking creates nothing")
	exists, _, err := conn.Exists("/prod")
	require.NoError(t, err)
	require.False(t, exists)

	vote := acquire(t, n, "a/b", 1)
	const path = "/prod/app/locks/locks/a%2Fb"
	data, stat, err := conn.Get(path)
	require.NoError(t, err)
	require.Zero(t, stat.EphemeralOwner)
	id := children(t, conn, path, 2)[0]
	require.JSONEq(t, fmt.Sprintf(`{"id":"%s","counter":%d,"grant":{"owner":"%s","fence":%d,"session":"%s","ttl_ms":60000}}`,
		id, vote.Counter, owner(1), vote.Fence, leaseSession(t, conn, path)), string(data))
	release(t, n, "a/b", 1)
	data, _, err = conn.Get(path)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"id":"%s","counter":%d}`, id, vote.Counter), string(data))
	require.Equal(t, []string{id}, children(t, conn, path, 1))
}

func children(t *testing.T, conn *zk.Conn, path string, count int) []string {
	t.Helper()
	names, _, err := conn.Children(path)
	require.NoError(t, err)
	require.Len(t, names, count)
	slices.Sort(names) // "lease" comes behind an id
	return names
}

func leaseSession(t *testing.T, conn *zk.Conn, path string) string {
	t.Helper()
	data, stat, err := conn.Get(path + "/lease")
	require.NoError(t, err)
	require.Equal(t, owner(1), string(data))
	return fmt.Sprintf("%#x", uint64(stat.EphemeralOwner))
}

func TestACL(t *testing.T) {
	t.Parallel()
	s := server(t)
	as := func(credentials string) func(*zknode.Options) {
		return func(o *zknode.Options) { o.Auth = []zknode.Auth{{Scheme: "digest", Credentials: credentials}} }
	}
	n := node(t, s.Addr(), as("me:secret"))
	require.NotContains(t, n.Name(), "secret")
	require.True(t, acquire(t, n, "k", 1).Granted)
	require.False(t, acquire(t, node(t, s.Addr(), as("me:secret")), "k", 2).Granted)
	for _, stranger := range []*zknode.Node{node(t, s.Addr()), node(t, s.Addr(), as("me:wrong"))} {
		_, err := stranger.Inspect(within(t, patience), "k")
		require.ErrorContains(t, err, "ACL")
		require.ErrorContains(t, stranger.Release(within(t, patience), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}), "ACL")
		require.NotContains(t, err.Error(), "wrong")
	}
	s.Restart() // the driver shows the credentials again
	require.Eventually(t, func() bool {
		return n.Release(within(t, patience), redlock.ReleaseRequest{Key: "k", Owner: owner(1)}) == nil
	}, patience, tick)

	conn := connect(t, s.Addr(), time.Minute)
	acl := append(zk.DigestACL(zk.PermAll, "a", "b"), zk.WorldACL(zk.PermRead)...)
	given := node(t, s.Addr(), as("a:b"), func(o *zknode.Options) { o.Root, o.ACL = "/given", acl })
	acquire(t, given, "k", 1)
	for _, path := range []string{"/given", "/given/locks", "/given/locks/k", "/given/locks/k/lease"} {
		got, _, err := conn.GetACL(path)
		require.NoError(t, err)
		require.Len(t, got, 2, path)
		require.Equal(t, "digest", got[0].Scheme, path) // the rest is hidden
		require.Equal(t, acl[1], got[1], path)
	}
	reader := node(t, s.Addr(), func(o *zknode.Options) { o.Root = "/given" })
	require.Equal(t, owner(1), inspect(t, reader, "k").Owner, "who may read may look")
}

// An idle key goes, and not before its counter may. A key in use stays.
func TestRetention(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, other, conn := node(t, s.Addr()), node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	const retention = 700 * time.Millisecond
	fence := acquire(t, n, "idle", 1).Fence
	release(t, n, "idle", 1)
	acquire(t, n, "held", 1)
	acquire(t, other, "idle", 3) // so that both have seen it
	release(t, other, "idle", 3)
	require.NoError(t, n.Sweep(within(t, patience), retention))
	require.ElementsMatch(t, []string{"idle", "held"}, keys(t, conn), "nothing is old")
	time.Sleep(retention)
	acquire(t, n, "fresh", 1)
	release(t, n, "fresh", 1)
	require.NoError(t, other.Sweep(within(t, patience), retention))
	require.ElementsMatch(t, []string{"held", "fresh"}, keys(t, conn))
	for i, n := range []*zknode.Node{n, other} { // each remembers a znode that is gone
		require.Positive(t, acquire(t, n, "idle", 10+i).Fence)
		release(t, n, "idle", 10+i)
	}
	require.Less(t, inspect(t, n, "idle").Counter, fence+10)

	// One of all nodes does it: the next one has nothing to do for a while.
	time.Sleep(retention / 2)
	require.NoError(t, n.Sweep(within(t, patience), 10*retention))
	_, before, err := conn.Exists("/redlock/swept")
	require.NoError(t, err)
	require.NoError(t, other.Sweep(within(t, patience), 10*retention))
	_, after, err := conn.Exists("/redlock/swept")
	require.NoError(t, err)
	require.Equal(t, before.Version, after.Version)
}

// keysAt leaves out the znode that is as old as the root.
func keysAt(t *testing.T, conn *zk.Conn, root string) []string {
	t.Helper()
	names, _, err := conn.Children(root + "/locks")
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, ".") })
}

func keys(t *testing.T, conn *zk.Conn) []string {
	t.Helper()
	return keysAt(t, conn, "/redlock")
}

// removeAll removes a znode as zkCli's deleteall does.
func removeAll(t *testing.T, conn *zk.Conn, path string) {
	t.Helper()
	names, _, err := conn.Children(path)
	require.NoError(t, err)
	for _, name := range names {
		removeAll(t, conn, path+"/"+name)
	}
	require.NoError(t, conn.Delete(path, -1))
}

// Somebody who removes the root takes all that is known with it. That must show.
func TestRootRemoved(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr(), func(o *zknode.Options) { o.Durable = false }), connect(t, s.Addr(), time.Minute)
	before := acquire(t, n, "k", 1)
	removeAll(t, conn, "/redlock")
	vote, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: before.Fence, TTL: time.Minute})
	require.NoError(t, err)
	require.False(t, vote.Granted)
	after := acquire(t, n, "k", 2)
	require.True(t, after.Granted)
	require.NotEqual(t, before.Incarnation, after.Incarnation)
}

// Two programs on one ensemble exclude each other, whichever of them is asked.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	s := server(t)
	a, b := node(t, s.Addr()), node(t, s.Addr())
	first := acquire(t, a, "k", 1)
	refused := acquire(t, b, "k", 2)
	require.False(t, refused.Granted)
	require.Equal(t, owner(1), refused.Holder)
	require.Equal(t, first.Incarnation, refused.Incarnation)
	require.InDelta(t, time.Minute, refused.Remaining, float64(10*time.Second))
	release(t, a, "k", 1)
	second := acquire(t, b, "k", 2)
	require.Greater(t, second.Fence, first.Fence)

	// A lease that another node extends becomes that node's.
	vote, err := a.Extend(within(t, patience), redlock.ExtendRequest{Key: "k", Owner: owner(2), Fence: second.Fence, TTL: time.Minute})
	require.NoError(t, err)
	require.True(t, vote.Granted)
	require.NoError(t, b.Close())
	require.Equal(t, owner(2), inspect(t, a, "k").Owner, "it outlives the session that made it")
}

// Unlocking by force happens in another program, and the holder's renewals, which
// ask again where they have no grant, must not undo it.
func TestForcedRelease(t *testing.T) {
	t.Parallel()
	s := server(t)
	holder, admin := node(t, s.Addr()), node(t, s.Addr())
	acquire(t, holder, "k", 1)
	release(t, admin, "k", 1)
	release(t, admin, "not held", 1)
	for _, key := range []string{"k", "not held"} {
		require.False(t, inspect(t, holder, key).Held)
		require.False(t, acquire(t, holder, key, 1).Granted)
		require.True(t, acquire(t, holder, key, 2).Granted)
		release(t, holder, key, 2)
		require.False(t, acquire(t, holder, key, 1).Granted)
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	const workers, rounds = 64, 5
	s := server(t)
	nodes := []*zknode.Node{node(t, s.Addr()), node(t, s.Addr()), node(t, s.Addr())}
	ctx := within(t, patience)
	var inside, grants, last atomic.Int64
	var wg sync.WaitGroup
	for i := range workers {
		n := nodes[i%len(nodes)]
		wg.Go(func() {
			for round := range rounds {
				own := fmt.Sprintf("own-%d", i)
				who := owner(1 + i*rounds + round)
				vote, err := n.Acquire(ctx, redlock.AcquireRequest{Key: own, Owner: who, TTL: time.Minute})
				if err != nil || !vote.Granted {
					t.Errorf("own key: %+v %v", vote, err)
				}
				vote, err = n.Acquire(ctx, redlock.AcquireRequest{Key: "hot", Owner: who, TTL: time.Minute})
				if err != nil {
					t.Error(err)
				}
				if vote.Granted {
					if inside.Add(1) != 1 {
						t.Error("two at once")
					}
					if fence := int64(vote.Fence); last.Swap(fence) >= fence {
						t.Error("the fence did not grow")
					}
					grants.Add(1)
					inside.Add(-1)
				}
				for _, key := range []string{"hot", own} {
					if err := n.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: who}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	require.Positive(t, grants.Load())
	for _, n := range nodes {
		require.False(t, inspect(t, n, "hot").Held)
		require.Zero(t, n.Lanes(), "released owners are forgotten")
	}
}
