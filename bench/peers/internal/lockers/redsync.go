package lockers

import (
	"context"
	"errors"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	redsyncrueidis "github.com/go-redsync/redsync/v4/redis/rueidis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidiscompat"
)

type redsyncLocker struct {
	rs      *redsync.Redsync
	options []redsync.Option
	close   func()
}

// poolsOf makes redsync's connections to the servers.
type poolsOf func(addrs []string) (pools []redsyncredis.Pool, closeAll func(), err error)

func redsyncOpener(pools poolsOf, failFast bool) func(Where) (Locker, error) {
	return func(at Where) (Locker, error) {
		all, closeAll, err := pools(at.Redis)
		if err != nil {
			return nil, err
		}
		options := []redsync.Option{redsync.WithExpiry(TTL)}
		if failFast {
			options = append(options, redsync.WithFailFast(true))
		}
		return &redsyncLocker{redsync.New(all...), options, closeAll}, nil
	}
}

func goRedisPools(addrs []string) ([]redsyncredis.Pool, func(), error) {
	clients := goRedisClients(addrs)
	var pools []redsyncredis.Pool
	for _, c := range clients {
		pools = append(pools, redsyncgoredis.NewPool(c))
	}
	return pools, func() { closeClients(clients) }, nil
}

func rueidisPools(addrs []string) ([]redsyncredis.Pool, func(), error) {
	var pools []redsyncredis.Pool
	var clients []rueidis.Client
	closeAll := func() {
		for _, c := range clients {
			c.Close()
		}
	}
	for _, addr := range addrs {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
		pools = append(pools, redsyncrueidis.NewPool(rueidiscompat.NewAdapter(c)))
	}
	return pools, closeAll, nil
}

// Lock goes on where redsync gives up, after 32 tries.
func (l *redsyncLocker) Lock(ctx context.Context, key string) (Held, error) {
	for {
		m := l.rs.NewMutex(key, l.options...)
		err := m.LockContext(ctx)
		if err == nil {
			return redsyncHeld{m}, nil
		}
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

func (l *redsyncLocker) Close() { l.close() }

type redsyncHeld struct{ m *redsync.Mutex }

func (h redsyncHeld) Unlock(ctx context.Context) error {
	ok, err := h.m.UnlockContext(ctx)
	if err == nil && !ok {
		err = errors.New("redsync: it was not unlocked")
	}
	return err
}

func (redsyncHeld) Token() uint64 { return 0 }

func goRedisClients(addrs []string) []*redis.Client {
	var clients []*redis.Client
	for _, addr := range addrs {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: addr}))
	}
	return clients
}

func closeClients(clients []*redis.Client) {
	for _, c := range clients {
		_ = c.Close()
	}
}
