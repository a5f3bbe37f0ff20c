package redisnode

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/testserver"
)

// What takes a short way must come out as on the long one.
func TestShortWaysAndLongOnes(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: testserver.StartRedis(t).Addr()})
	defer c.Close()
	calls := c.Subscribe(t.Context(), "wake:c") // a waiter whom nobody would hear is passed over
	defer calls.Close()
	_, err := calls.Receive(t.Context())
	require.NoError(t, err)

	short := scripts{c, []string{"short", "fences of short", "tombstone of short"}, acquireScript, extendScript}
	long := scripts{c, []string{"long", "fences of long", "tombstone of long"}, loadScript(8, "common", "acquire"), loadScript(5, "common", "extend")}
	all := ""
	for seed := range uint64(50) {
		require.NoError(t, c.FlushAll(t.Context()).Err())
		began := uint64(time.Now().UnixMicro())
		log, others := short.play(t, seed, began), long.play(t, seed, began)
		for i := range log {
			require.Equal(t, others[i], log[i], "seed %d, after %q", seed, log[:i])
		}
		all += strings.Join(log, "\n")
	}
	for _, often := range []string{"takes: {yes:true", "takes: {yes:false", "queues: {yes:true", "queued:true", "extends: {yes:true"} {
		require.Greater(t, strings.Count(all, often), 50, often)
	}
}

// scripts are those that have short ways, for one key.
type scripts struct {
	client          *redis.Client
	keys            []string
	acquire, extend *script
}

// value is what the key holds. A lock without a script is shown as one with.
func (s scripts) value(t *testing.T) string {
	if hash := s.client.HGetAll(t.Context(), s.keys[0]).Val(); len(hash) == 1 {
		for owner, fence := range hash {
			return fmt.Sprintf("%s:%s:0:%016d", owner, fence, 0)
		}
	}
	return s.client.Get(t.Context(), s.keys[0]).Val()
}

// untimed finds when a lock ends.
var untimed = regexp.MustCompile(`:\d{16}(\||$)`)

// play makes calls at random and tells what came of each, but for the times.
func (s scripts) play(t *testing.T, seed, began uint64) (log []string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	id := func(n int) string { return fmt.Sprintf("%032x", n) }
	run := func(what string, script *script, args ...any) (a answer) {
		t.Helper()
		a, err := runScript(t.Context(), s.client, script, s.keys, append([]any{modeFast, 0}, args...)...)
		require.NoError(t, err)
		known := a
		known.end, known.left, known.clock = min(1, a.end), min(1, a.left), time.Time{}
		log = append(log, fmt.Sprintf("%s: %+v, %s", what, known, untimed.ReplaceAllString(s.value(t), ":end$1")))
		return a
	}
	owner, fence := id(0), uint64(0)
	acquire := func(what, who, waiter, place string) {
		t.Helper()
		if a := run(what, s.acquire, who, 60000, began+random.Uint64N(1000), "", waiter, place); a.yes {
			owner, fence = who, a.fence
		}
	}
	for i := 1; i <= 60; i++ {
		waiter := id(100 + random.IntN(6))
		place := fmt.Sprintf("|%d;60000;c;%s", began+uint64(i-random.IntN(3)), waiter)
		switch random.IntN(9) {
		case 0:
			acquire("asks", id(i), "", "")
		case 1, 2:
			acquire("takes", id(i), waiter, "")
		case 3, 4:
			acquire("queues", id(i), waiter, place)
		case 5:
			acquire("queues again", owner, waiter, place)
		case 6:
			run("extends", s.extend, owner, fence, 60000+i)
		case 7:
			who, hint := id(i), began+random.Uint64N(1000)
			if err := s.client.Restore(t.Context(), s.keys[0], time.Minute, string(appendDump(nil, who, hint))).Err(); err == nil {
				owner, fence = who, hint
			}
		case 8:
			_, err := releaseScript.run(t.Context(), s.client, s.keys, "", owner, "", "wake:", "1", 0)
			require.NoError(t, err)
		}
	}
	return log
}
