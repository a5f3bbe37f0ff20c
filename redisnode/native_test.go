package redisnode

import (
	"fmt"
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
		for _, fence := range []uint64{1, 1 << 31, redlock.MaxFence} {
			require.NoError(t, c.Restore(t.Context(), "k", time.Minute, string(appendDump(nil, owner, fence))).Err(), "%v", setting)
			require.Equal(t, map[string]string{owner: fmt.Sprint(fence)}, c.HGetAll(t.Context(), "k").Val())
			require.EqualValues(t, 1, c.HDel(t.Context(), "k", owner).Val())
			require.Zero(t, c.Exists(t.Context(), "k").Val())
		}
	}
}

// A native grant may be released by force before a script has settled its fence, which
// must not bring it back then.
func TestSettlingBringsNothingBack(t *testing.T) {
	n := New(nil, Options{Addr: testserver.StartRedis(t).Addr()})
	defer n.Close()
	const owner = "0123456789abcdef0123456789abcdef"
	names := n.namesOf("k")
	settle := func(how string) bool {
		a, err := runScript(t.Context(), n.client, acquireScript, names.of(owner), "", names.at, owner, 60000, 1<<50, how, "", "")
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
