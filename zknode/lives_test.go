package zknode_test

import (
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/zknode"
)

// A node remembers keys, and versions begin at 0 in each znode. What it remembers
// must not be taken for what is there now, or fences go back and two hold a key.

// cycle locks and frees a key as soon as the node has a session.
func cycle(t *testing.T, n redlock.Node, who int, hint uint64) redlock.Vote {
	t.Helper()
	var vote redlock.Vote
	require.Eventually(t, func() (ok bool) {
		var err error
		vote, err = n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(who), TTL: time.Second, Hint: hint})
		return err == nil
	}, patience, 10*time.Millisecond)
	require.True(t, vote.Granted)
	release(t, n, "k", who)
	return vote
}

// now is a hint as a Locker gives it.
func now() uint64 { return uint64(time.Now().UnixMicro()) }

const hour = uint64(time.Hour / time.Microsecond)

func TestDataLostAndRememberedKey(t *testing.T) {
	t.Parallel()
	s := server(t)
	n := node(t, s.Addr(), session(8*time.Second))
	before := cycle(t, n, 1, now())
	s.Kill()
	s.Wipe()
	s.Start()
	other := cycle(t, node(t, s.Addr()), 2, now()+hour)
	after := cycle(t, n, 3, now())
	require.NotEqual(t, before.Incarnation, after.Incarnation)
	require.Equal(t, other.Incarnation, after.Incarnation)
	require.Greater(t, after.Fence, other.Fence)
}

// An operator frees a key by removing its znode, while its holder goes on, or
// somebody remembers it.
func TestKeyMadeAnew(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, other, conn := node(t, s.Addr()), node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	ctx := within(t, patience)

	first := acquire(t, n, "k", 1)
	removeAll(t, conn, "/redlock/locks/k")
	second := acquire(t, other, "k", 2)
	vote, err := n.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(1), Fence: first.Fence, TTL: time.Minute})
	require.NoError(t, err)
	require.False(t, vote.Granted)
	require.Equal(t, owner(2), vote.Holder)
	release(t, n, "k", 1)
	require.Equal(t, owner(2), inspect(t, n, "k").Owner)
	vote, err = other.Extend(ctx, redlock.ExtendRequest{Key: "k", Owner: owner(2), Fence: second.Fence, TTL: time.Minute})
	require.NoError(t, err)
	require.True(t, vote.Granted)
	release(t, other, "k", 2)

	removeAll(t, conn, "/redlock/locks/k")
	cycle(t, n, 3, now())
	removeAll(t, conn, "/redlock/locks/k")
	ahead := cycle(t, other, 4, now()+hour)
	require.Greater(t, cycle(t, n, 5, now()).Fence, ahead.Fence)
}

// Somebody removes the root and another program makes a new one, all within one
// session: votes must tell that grants were lost.
func TestRootMadeAnew(t *testing.T) {
	t.Parallel()
	s := server(t)
	young := func(o *zknode.Options) { o.Durable = false }
	n, conn := node(t, s.Addr(), young), connect(t, s.Addr(), time.Minute)
	before := cycle(t, n, 1, now())
	removeAll(t, conn, "/redlock")
	other := node(t, s.Addr(), young)
	ahead := cycle(t, other, 2, now()+hour)
	fresh := acquire(t, n, "never seen", 3)
	require.Equal(t, ahead.Incarnation, fresh.Incarnation)
	require.NotEqual(t, before.Incarnation, fresh.Incarnation)
	require.Greater(t, cycle(t, n, 3, now()).Fence, ahead.Fence)

	vote := acquire(t, n, "held", 4)
	removeAll(t, conn, "/redlock")
	cycle(t, other, 5, now())
	refused, err := n.Extend(within(t, patience), redlock.ExtendRequest{Key: "held", Owner: owner(4), Fence: vote.Fence, TTL: time.Minute})
	require.NoError(t, err)
	require.False(t, refused.Granted)
	require.NotEqual(t, vote.Incarnation, refused.Incarnation)
}

// The znodes that tell lives apart are nothing that a lock cannot do without.
func TestMissingMarks(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	before := cycle(t, n, 1, now())
	removeAll(t, conn, "/redlock/locks/k/"+children(t, conn, "/redlock/locks/k", 1)[0])
	after := cycle(t, n, 2, 0)
	require.Equal(t, before.Fence+1, after.Fence)
	removeAll(t, conn, "/redlock/locks/."+before.Incarnation)
	again := cycle(t, n, 3, 0)
	require.Equal(t, before.Incarnation, again.Incarnation)
	require.Equal(t, after.Fence+1, again.Fence)
}

// A lease of somebody else keeps everybody from a key, and must not pass for a holder
// whom a release would end.
func TestChildOfAnotherProgram(t *testing.T) {
	t.Parallel()
	s := server(t)
	n, conn := node(t, s.Addr()), connect(t, s.Addr(), time.Minute)
	cycle(t, n, 1, now())
	_, err := conn.Create("/redlock/locks/k/lease", nil, 0, zk.WorldACL(zk.PermAll))
	require.NoError(t, err)
	vote := acquire(t, n, "k", 2)
	require.False(t, vote.Granted)
	require.Contains(t, vote.Holder, "something that is no lock")
	state := inspect(t, n, "k")
	require.False(t, state.Held)
	require.Equal(t, vote.Holder, state.Owner)
	require.NoError(t, conn.Delete("/redlock/locks/k/lease", -1))
	require.True(t, acquire(t, n, "k", 3).Granted)
}
