package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// Reset empties the redis-servers. Their processes stay, so that nobody takes them
// for restarted ones, and so do their scripts.
func (s *Servers) Reset(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, _ int, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// Commands counts the commands that the redis-servers have carried out, those
// inside scripts included.
func (s *Servers) Commands(ctx context.Context) (int64, error) {
	counts := make([]int64, len(s.admin))
	err := s.each(ctx, func(ctx context.Context, i int, c *redis.Client) error {
		info, err := c.Info(ctx, "commandstats").Result()
		if err != nil {
			return err
		}
		counts[i], err = sumCalls(info)
		return err
	})
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return sum, err
}

// sumCalls adds up the lines "cmdstat_set:calls=3,...", but for what is only
// ever asked by the benchmark itself.
func sumCalls(info string) (int64, error) {
	var sum int64
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok || name == "cmdstat_info" || name == "cmdstat_scan" || name == "cmdstat_flushall" {
			continue
		}
		digits, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("commandstats: %q: %w", line, err)
		}
		sum += n
	}
	return sum, nil
}

// Leftovers counts the keys on the redis-servers that isLock says are locks, given
// their names and values, but for the server named by skip (-1: none).
func (s *Servers) Leftovers(ctx context.Context, skip int, isLock func(key, value string) bool) (int, error) {
	counts := make([]int, len(s.admin))
	err := s.each(ctx, func(ctx context.Context, i int, c *redis.Client) error {
		if i == skip {
			return nil
		}
		found := map[string]bool{} // SCAN may show a key twice
		keys := c.Scan(ctx, 0, "*", 5000).Iterator()
		for keys.Next(ctx) {
			if isLock(keys.Val(), "") {
				found[keys.Val()] = true
			}
		}
		for key := range found {
			value, err := c.Get(ctx, key).Result()
			if !errors.Is(err, redis.Nil) && isLock(key, value) {
				counts[i]++
			}
		}
		return keys.Err()
	})
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum, err
}

func (s *Servers) each(ctx context.Context, f func(ctx context.Context, i int, c *redis.Client) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range s.admin {
		g.Go(func() error {
			if err := f(ctx, i, c); err != nil {
				return fmt.Errorf("redis %s: %w", s.redis[i].Addr(), err)
			}
			return nil
		})
	}
	return g.Wait()
}
