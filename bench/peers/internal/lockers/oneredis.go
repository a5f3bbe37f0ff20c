package lockers

import (
	"context"
	"errors"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

// rueidisLocker locks on one server, and is told by it when a key changes.
type rueidisLocker struct{ locker rueidislock.Locker }

func openRueidislock(at Where) (Locker, error) {
	l, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption:   rueidis.ClientOption{InitAddress: at.Redis[:1]},
		KeyValidity:    TTL,
		KeyMajority:    1,
		NoLoopTracking: true, // as it advises for Redis 7.0.5 and later
	})
	if err != nil {
		return nil, err
	}
	return &rueidisLocker{l}, nil
}

func (l *rueidisLocker) Lock(ctx context.Context, key string) (Held, error) {
	_, unlock, err := l.locker.WithContext(ctx, key)
	if err != nil {
		return nil, err
	}
	return released(func(context.Context) error { unlock(); return nil }), nil
}

func (l *rueidisLocker) Close() { l.locker.Close() }

// redislockLocker locks on one server and polls.
type redislockLocker struct {
	redis  *redis.Client
	client *redislock.Client
}

func openRedislock(at Where) (Locker, error) {
	c := redis.NewClient(&redis.Options{Addr: at.Redis[0]})
	return &redislockLocker{c, redislock.New(c)}, nil
}

// Lock uses the strategy that its documentation shows. It goes on where redislock
// gives up: after a TTL, if the context has no deadline.
func (l *redislockLocker) Lock(ctx context.Context, key string) (Held, error) {
	for {
		lock, err := l.client.Obtain(ctx, key, TTL, &redislock.Options{RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond)})
		if err == nil {
			return released(lock.Release), nil
		}
		if ctx.Err() != nil || !errors.Is(err, redislock.ErrNotObtained) {
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

func (l *redislockLocker) Close() { _ = l.redis.Close() }
