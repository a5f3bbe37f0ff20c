package lockers

import (
	"context"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// compareAndDelete is how a lock without fencing is given up.
const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`

var errNoMajority = errors.New("no majority")

// asker has one node do one thing and tells whether it agreed. It may be asked
// by many goroutines at once.
type asker interface {
	acquire(key, owner string, answers chan<- bool)
	release(key, owner string, answers chan<- bool)
	close()
}

// raw is the least that a quorum lock does: ask all nodes at once, and return as
// soon as a majority has answered. It has no fencing, renewal, guards or validity,
// and leaves votes behind that arrive after the lock was released.
type raw struct {
	nodes []asker
}

func (l *raw) majority() int { return len(l.nodes)/2 + 1 }

func (l *raw) Lock(ctx context.Context, key string) (Held, error) {
	for {
		owner := rand.Text()
		if l.ask(func(n asker, answers chan<- bool) { n.acquire(key, owner, answers) }) {
			return released(func(context.Context) error { return l.unlock(key, owner) }), nil
		}
		_ = l.unlock(key, owner) // gives back what a minority granted
		pause := 500*time.Microsecond + mathrand.N(2500*time.Microsecond)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (l *raw) unlock(key, owner string) error {
	if l.ask(func(n asker, answers chan<- bool) { n.release(key, owner, answers) }) {
		return nil
	}
	return errNoMajority
}

// ask returns once a majority has agreed, or cannot agree any more.
func (l *raw) ask(one func(n asker, answers chan<- bool)) bool {
	answers := make(chan bool, len(l.nodes))
	for _, n := range l.nodes {
		one(n, answers)
	}
	yes, no := 0, 0
	for yes < l.majority() && no <= len(l.nodes)-l.majority() {
		if <-answers {
			yes++
		} else {
			no++
		}
	}
	return yes >= l.majority()
}

func (l *raw) Close() {
	for _, n := range l.nodes {
		n.close()
	}
}

// fanOut asks with a goroutine for each request, over go-redis's pool.
type fanOut struct {
	client *redis.Client
	script *redis.Script
}

func openFanOut(at Where) (Locker, error) {
	l := &raw{}
	for _, c := range goRedisClients(at.Redis) {
		l.nodes = append(l.nodes, &fanOut{c, redis.NewScript(compareAndDelete)})
	}
	return l, nil
}

func (f *fanOut) acquire(key, owner string, answers chan<- bool) {
	go func() {
		ok, err := f.client.SetNX(context.Background(), key, owner, TTL).Result() //nolint:staticcheck // what raw code uses
		answers <- ok && err == nil
	}()
}

func (f *fanOut) release(key, owner string, answers chan<- bool) {
	go func() {
		n, err := f.script.Run(context.Background(), f.client, []string{key}, owner).Int()
		answers <- n == 1 && err == nil
	}()
}

func (f *fanOut) close() { _ = f.client.Close() }
