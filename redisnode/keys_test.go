package redisnode_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// oddKeys try to break out of the hash tag, to look like another key, or to be
// cut short.
var oddKeys = []string{
	"plain", "{", "}", "{}", "}x", "x}", "{a}b", "a}b{c", "%", "%7D", "%25", "%257D", "a%7Db", "a}b",
	"\x00", "a\x00b", "a\nb", "\r\n", "a:fence", "a:free", "a:released:" + owner(1), "\xff\xfe", "é", " ", "'\"\\",
	strings.Repeat("}", redlock.MaxKeyLength), strings.Repeat("k", redlock.MaxKeyLength),
}

// Keys are any bytes. If two of them had one name on the server, two strangers
// would exclude each other; if one had two names, nobody would.
func TestAnyBytesInKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n := node(t, addr)
		for i, key := range oddKeys {
			vote := acquire(t, n, key, i+1)
			require.True(t, vote.Granted, "%q is held by another key's owner", key)
		}
		for i, key := range oddKeys {
			state, err := n.Inspect(within(t, patience), key)
			require.NoError(t, err)
			require.Equal(t, owner(i+1), state.Owner, "of %q", key)
			release(t, n, key, i+1)
		}
	})
}

// A cluster refuses a script whose keys lie in several slots.
func TestKeysOfALockShareASlot(t *testing.T) {
	s := testserver.StartRedis(t)
	n := node(t, s.Addr())
	c := client(t, &redis.Options{Addr: s.Addr()})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.Addr()}})
	t.Cleanup(func() { _ = cluster.Close() })
	ofCluster := redisnode.New(cluster, redisnode.Options{})
	for _, key := range oddKeys {
		require.NoError(t, c.FlushAll(t.Context()).Err())
		require.True(t, acquire(t, n, key, 1).Granted)
		release(t, n, key, 1)
		names, err := c.Keys(t.Context(), "redlock:{*").Result()
		require.NoError(t, err)
		require.Len(t, names, 1, "the tombstone")
		fences, at := ofCluster.CounterOf(key)
		require.Less(t, at, 32)
		// Computed here, because a server without cluster support does not.
		require.Equal(t, slot(names[0]), slot(fences), "%q and %q", names[0], fences)
	}
}

// slot is Redis Cluster's: CRC16 (XMODEM) of the hash tag, modulo 16384.
func slot(name string) uint16 {
	if _, rest, ok := strings.Cut(name, "{"); ok {
		if tag, _, closed := strings.Cut(rest, "}"); closed && tag != "" {
			name = tag
		}
	}
	var crc uint16
	for i := range len(name) {
		crc ^= uint16(name[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

func TestSlotIsTheClusters(t *testing.T) {
	require.EqualValues(t, 12739, slot("123456789"), "the example of the cluster specification, 0x31C3")
}

// The names are documented: people grant ACLs on them and look at them.
func TestKeyNames(t *testing.T) {
	m := startMini(t)
	n := node(t, m.Addr(), func(o *redisnode.Options) { o.Prefix = "app:" })
	vote := acquire(t, n, "50%}", 1)
	got, err := m.Get("app:{50%25%7D}")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%s:%d:%d:%d", owner(1), vote.Fence, vote.Fence, vote.Clock.Add(time.Minute).UnixMicro()), got)
	counters, err := m.Get("app:fences")
	require.NoError(t, err)
	require.Equal(t, vote.Fence+1, binary.BigEndian.Uint64([]byte(counters)[8*83:]))
	release(t, n, "50%}", 1)
	require.False(t, m.Exists("app:{50%25%7D}"))
	require.True(t, m.Exists("app:{50%25%7D}:released:"+owner(1)))
}

// A counter that is shared may be ahead of what is asked for, whoever drove it there.
func TestKeysShareCounters(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n := node(t, addr)
		one, other := "k0", ""
		_, at := n.CounterOf(one)
		for i := 1; other == ""; i++ {
			key := fmt.Sprint("k", i)
			if _, same := n.CounterOf(key); same == at {
				other = key
			}
		}
		first, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: one, Owner: owner(1), TTL: time.Minute, Hint: 1000})
		require.NoError(t, err)
		require.EqualValues(t, 1000, first.Fence)
		second, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: other, Owner: owner(2), TTL: time.Minute, Hint: 10})
		require.NoError(t, err)
		require.True(t, second.Granted, "only the counter is shared")
		require.EqualValues(t, 1001, second.Fence)
		state, err := n.Inspect(within(t, patience), one)
		require.NoError(t, err)
		require.EqualValues(t, 1000, state.Fence)
	})
}

// However many keys are locked, the counters that stay take a bounded place, and keys
// spread over it: else they would share more of them than need be.
func TestCountersAreBounded(t *testing.T) {
	const counters = 1 << 16
	n := node(t, startMini(t).Addr())
	used := make(map[int]bool)
	for i := range counters {
		_, at := n.CounterOf(fmt.Sprintf("orders/%d", i))
		require.Less(t, at, 8*counters)
		require.Zero(t, at%8)
		used[at] = true
	}
	require.Greater(t, len(used), counters/2, "of as many, chance leaves a third unused")
}

// Keys must not pile up on the server.
func TestKeysExpire(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		ttl := 30 * 24 * time.Hour
		vote, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: ttl})
		require.NoError(t, err)
		require.True(t, vote.Granted)
		require.Greater(t, c.PTTL(t.Context(), "redlock:{k}").Val(), ttl-time.Hour)

		release(t, n, "k", 1)
		tombstone := c.PTTL(t.Context(), "redlock:{k}:released:"+owner(1)).Val()
		require.Greater(t, tombstone, time.Duration(0))
		require.LessOrEqual(t, tombstone, time.Minute)
	})
}

// Somebody's own data under a lock's name must neither be destroyed nor pass for
// a free lock.
func TestForeignData(t *testing.T) {
	onBoth(t, func(t *testing.T, addr string) {
		n, c := node(t, addr), client(t, &redis.Options{Addr: addr})
		for _, value := range []string{"mine", "", "a\x00\n\xff", strings.Repeat("x", 100_000), owner(1), owner(1) + ":", ":1", "x:0"} {
			require.NoError(t, c.Set(t.Context(), "redlock:{k}", value, 0).Err())
			vote := acquire(t, n, "k", 1)
			require.False(t, vote.Granted, "over %.40q", value)
			require.NotEmpty(t, vote.Holder)
			require.Less(t, len(vote.Holder), 200)
			require.NotContains(t, vote.Holder, "\n")
			require.Positive(t, vote.Remaining, "or a waiter would spin")
			release(t, n, "k", 2)
			require.Equal(t, value, c.Get(t.Context(), "redlock:{k}").Val())

			state, err := n.Inspect(within(t, patience), "k")
			require.NoError(t, err)
			require.False(t, state.Held)
			require.Equal(t, vote.Holder, state.Owner)
			if value != owner(1) { // which may be an owner's name
				require.Contains(t, state.Owner, "something that is no lock: ")
			}
		}
		require.NoError(t, c.Del(t.Context(), "redlock:{k}").Err())

		require.NoError(t, c.RPush(t.Context(), "redlock:{k}", "a", "b").Err())
		_, err := n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "k", Owner: owner(1), TTL: time.Minute})
		require.ErrorContains(t, err, "taken by other data")
		require.ErrorContains(t, err, "WRONGTYPE")
		release(t, n, "k", 1)
		require.EqualValues(t, 2, c.LLen(t.Context(), "redlock:{k}").Val())

		fences, _ := n.CounterOf("f")
		require.NoError(t, c.Del(t.Context(), fences).Err())
		require.NoError(t, c.RPush(t.Context(), fences, "many").Err())
		_, err = n.Acquire(within(t, patience), redlock.AcquireRequest{Key: "f", Owner: owner(1), TTL: time.Minute})
		require.ErrorContains(t, err, "taken by other data")
	})
}
