package redisnode

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
)

// Only what has become long for good counts as far away.
func TestDistanceIsTheShortestOfTheLatest(t *testing.T) {
	var d distance
	assert.True(t, d.far(), "nothing is known")
	d.add(10 * farAway)
	assert.True(t, d.far())
	d.add(farAway / 2)
	for range 255 {
		d.add(50 * farAway)
	}
	assert.False(t, d.far(), "a busy server is no distant one")
	for range 600 {
		d.add(50 * time.Millisecond)
	}
	assert.True(t, d.far())
}

// What we write in the server's own format must stand its checks and suit its settings.
func TestDumpsSuitTheServer(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: testserver.StartRedis(t).Addr()})
	defer c.Close()
	const owner = "0123456789abcdef0123456789abcdef"
	for _, setting := range [][2]string{{}, {"sanitize-dump-payload", "yes"}, {"hash-max-listpack-entries", "0"}, {"hash-max-listpack-value", "0"}} {
		if setting[0] != "" {
			require.NoError(t, c.ConfigSet(t.Context(), setting[0], setting[1]).Err())
		}
		stands := func(dump []byte, field, value string) {
			require.NoError(t, c.Restore(t.Context(), "k", time.Minute, string(dump)).Err(), "%v", setting)
			require.Equal(t, map[string]string{field: value}, c.HGetAll(t.Context(), "k").Val())
			require.EqualValues(t, 1, c.HDel(t.Context(), "k", field).Val())
			require.Zero(t, c.Exists(t.Context(), "k").Val())
		}
		for _, fence := range []uint64{1, 1 << 31, redlock.MaxFence} {
			stands(appendDump(nil, owner, fence), owner, fmt.Sprint(fence))
			stands(appendTaken(nil, owner, fence, math.MaxInt64), owner, fmt.Sprint(fence, ":", math.MaxInt64))
		}
		stands(appendAside(nil, owner), "~"+owner, "0")
	}
}

// A waiter's lock that was made to last longer does not end when it says.
func TestAWaitersLockThatLastsLonger(t *testing.T) {
	n := New(nil, Options{Addr: testserver.StartRedis(t).Addr()})
	defer n.Close()
	const owner, another = "0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"
	hint := uint64(time.Now().UnixMicro())
	names := n.namesOf("k")
	past := serverTime(time.Now().Add(-time.Second).UnixMicro())
	require.NoError(t, n.client.Restore(t.Context(), names.lock, time.Hour, string(appendTaken(nil, owner, hint, past))).Err())
	defer n.Watch("k", another, func() {})()
	done := make(chan *redlock.Call, 1)
	n.Submit(&redlock.Call{Op: redlock.OpAcquire, Key: "k", Owner: another, TTL: time.Minute, Hint: hint, Ordered: true, Timeout: time.Minute,
		Place: redlock.Place{Waiter: another, Since: 1, Hold: time.Minute}, Done: func(c *redlock.Call) { done <- c }})
	call := <-done
	require.NoError(t, call.Err)
	require.True(t, call.Vote.Queued)
	require.Equal(t, owner, call.Vote.Holder)
	require.Equal(t, hint, call.Vote.Counter)
	require.Greater(t, call.Vote.Remaining, time.Minute)
}

// A native grant may be released by force before a script has settled its fence, which
// must not bring it back then.
func TestSettlingBringsNothingBack(t *testing.T) {
	n := New(nil, Options{Addr: testserver.StartRedis(t).Addr()})
	defer n.Close()
	const owner = "0123456789abcdef0123456789abcdef"
	names := n.namesOf("k")
	settle := func(how string) bool {
		a, err := runScript(t.Context(), n.client, acquireScript, names.of(owner), "", names.at, owner, 60000, 1<<50, how, "", "", "", "")
		require.NoError(t, err)
		return a.yes
	}
	require.True(t, settle("count"), "it has expired, so anybody may have it")
	require.NoError(t, n.Release(t.Context(), redlock.ReleaseRequest{Key: "k", Owner: owner}))
	require.False(t, settle("count"))
	require.False(t, settle("settle"))
}

// What a lock and its release take to be written to five nodes.
func BenchmarkNativeEncoding(b *testing.B) {
	n := New(nil, Options{Addr: "127.0.0.1:6379"})
	for name, scratch := range map[string]*redlock.Scratch{"each": nil, "once": {}} {
		b.Run(name, func(b *testing.B) {
			acquire := redlock.Call{Op: redlock.OpAcquire, Key: "orders/4711", Owner: "0123456789abcdef0123456789abcdef",
				TTL: 10 * time.Second, Hint: 1 << 50, Ordered: true, Scratch: scratch}
			release := acquire
			release.Op = redlock.OpRelease
			var buf, counts []byte
			for b.Loop() {
				acquire.Hint++
				release.Hint++
				buf, counts = buf[:0], counts[:0]
				for range 5 {
					buf, counts = n.appendNative(buf, counts, &acquire)
				}
				for range 5 {
					buf, counts = n.appendNative(buf, counts, &release)
				}
			}
		})
	}
}
