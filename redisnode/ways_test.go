package redisnode_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/redisnode"
)

// What is done by plain commands, or by the short way through a script, must come out as
// by the scripts alone, and by the long way.
func TestAllWaysComeOutAlike(t *testing.T) {
	restricted := testserver.StartRedis(t)
	admin := client(t, &redis.Options{Addr: restricted.Addr()})
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "locks", "on", ">secret", "~redlock:*", "&redlock:*", "+@all", "-restore").Err())
	ways := []*redisnode.Node{
		node(t, testserver.StartRedis(t).Addr()),
		node(t, restricted.Addr(), func(o *redisnode.Options) { o.Username, o.Password = "locks", "secret" }),
		node(t, testserver.StartRedis(t).Addr(), func(o *redisnode.Options) { o.Proxied = true }),
	}
	all := ""
	for seed := range uint64(20) {
		began := uint64(time.Now().UnixMicro())
		var first []string
		for i, n := range ways {
			log := (&player{t: t, node: submitting{n}, key: fmt.Sprint("key ", seed)}).play(seed, began)
			if i == 0 {
				first = log
			}
			for j := range log {
				require.Equal(t, first[j], log[j], "seed %d, way %d, after\n%s", seed, i, strings.Join(log[:j], "\n"))
			}
		}
		all += strings.Join(first, "\n")
	}
	for _, often := range []string{"takes: granted", "takes: refused", "queues: granted", "queues: queued",
		"queues again: granted", "extends: granted", "confirms: granted", "woke"} {
		require.Greater(t, strings.Count(all, often), 20, often)
	}
}

// player makes calls of one key at random and tells what came of each.
type player struct {
	t    *testing.T
	node submitting
	key  string

	owner string // the latest that was granted
	hint  uint64 // its acquire's, if it had no place
	fence uint64 // its own, which may differ: what is refused to plain commands raises the counter
	token uint64 // the largest that was confirmed
	holds bool   // it was not released
	mu    sync.Mutex
	woken []string
}

func (p *player) play(seed, began uint64) (log []string) {
	const waiters = 6
	random := rand.New(rand.NewPCG(seed, 0))
	var stops [waiters]func()
	watch := func(w int) {
		stops[w] = p.node.Watch(p.key, owner(w), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.woken = append(p.woken, owner(w))
		})
	}
	for w := range stops {
		watch(w)
	}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for i := range 80 {
		w, what := random.IntN(waiters), ""
		call := redlock.Call{Op: redlock.OpAcquire, Key: p.key, Owner: chance(1000 + i), TTL: time.Minute, Ordered: true, Hint: began + random.Uint64N(1000)}
		place := redlock.Place{Waiter: owner(w), Since: began + uint64(i-random.IntN(3)), Hold: time.Minute}
		switch random.IntN(12) {
		case 0:
			if what = p.vote("asks", call); p.owner == call.Owner {
				p.hint = call.Hint
			}
		case 1, 2, 3:
			call.Place = redlock.Place{Waiter: owner(w)}
			what = p.vote("takes", call)
		case 4, 5:
			call.Place = place
			what = p.vote("queues", call)
		case 6:
			if call.Place = place; p.holds {
				call.Owner = p.owner
			}
			what = p.vote("queues again", call)
		case 7:
			call.Op, call.Owner, call.Fence, call.TTL = redlock.OpExtend, p.owner, p.fence, time.Minute+time.Duration(i)
			what = p.vote("extends", call)
		case 8:
			call.Op, call.Owner, call.Fence, call.Token = redlock.OpConfirm, p.owner, p.fence, p.fence+uint64(random.IntN(3))
			what = p.vote("confirms", call)
		case 9, 10:
			if p.owner != "" {
				call.Op, call.Owner, call.Hint, call.Wake = redlock.OpRelease, p.owner, p.hint, random.IntN(3) > 0
				what, p.holds = p.vote("releases", call), false
			}
		case 11:
			if random.IntN(3) == 0 && p.owner != "" {
				require.NoError(p.t, p.node.Node.Release(within(p.t, patience), redlock.ReleaseRequest{Key: p.key, Owner: p.owner}))
				what, p.holds = "releases by force", false
			} else {
				stops[w]()
				watch(w)
				what = "stops"
			}
		}
		log = append(log, what+p.state())
	}
	return log
}

// vote makes a call and tells its vote, but for times.
func (p *player) vote(what string, call redlock.Call) string {
	if call.Owner == "" {
		return what + ": nothing"
	}
	v, err := p.node.call(within(p.t, patience), call)
	require.NoError(p.t, err)
	switch {
	case v.Granted:
		require.GreaterOrEqual(p.t, v.Counter, max(v.Fence, call.Token))
		how := "granted"
		if p.owner == call.Owner {
			require.Equal(p.t, p.fence, v.Fence)
			how = "granted as before"
		} else {
			require.Greater(p.t, v.Fence, max(p.fence, p.token, call.Hint-1))
		}
		if how == "granted" {
			p.hint = 0
		}
		p.owner, p.fence, p.token, p.holds = call.Owner, v.Fence, max(p.token, call.Token), true
		return fmt.Sprintf("%s: %s", what, how)
	case v.Queued:
		return fmt.Sprintf("%s: queued behind %q", what, v.Holder)
	}
	return fmt.Sprintf("%s: refused for %q", what, v.Holder)
}

// state tells what there is once all that was asked has been done, and who was called.
func (p *player) state() string {
	_, err := p.node.call(within(p.t, patience), redlock.Call{Op: redlock.OpRelease, Key: p.key, Owner: chance(1), Ordered: true})
	require.NoError(p.t, err)
	s, err := p.node.Inspect(within(p.t, patience), p.key)
	require.NoError(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("; held %v by %q", s.Held, s.Owner)
	if s.Held {
		require.Equal(p.t, p.fence, s.Fence)
	}
	if len(p.woken) > 0 {
		text += fmt.Sprintf("; woke %v", p.woken)
	}
	p.woken = nil
	return text
}
