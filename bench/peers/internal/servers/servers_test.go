package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSumCalls(t *testing.T) {
	info := "# Commandstats\r\ncmdstat_set:calls=3,usec=9\r\ncmdstat_info:calls=100,usec=1\r\ncmdstat_config|get:calls=2,usec=1\r\n"
	if n, err := sumCalls(info); n != 5 || err != nil {
		t.Errorf("sumCalls = %d, %v; want 5", n, err)
	}
	if _, err := sumCalls("cmdstat_set:calls=many,usec=1\n"); err == nil {
		t.Error("no error for what is no number")
	}
}

// A benchmark that ends without its servers ending is a nuisance.
func TestServers(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("REDLOCK_TEST_REQUIRE") == "1" {
			t.Fatal("redis-server is not installed, and REDLOCK_TEST_REQUIRE=1 requires it")
		}
		t.Skip("redis-server is not installed")
	}
	s, err := Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	pids := s.pids[Redis]
	if len(pids) != RedisNodes {
		t.Fatalf("%d processes, want %d", len(pids), RedisNodes)
	}
	faulty, err := s.Faulty()
	if err != nil {
		t.Fatal(err)
	}
	for i, addr := range faulty.Addrs() {
		c := redis.NewClient(&redis.Options{Addr: addr})
		if err := c.Set(ctx, fmt.Sprintf("lock%d", i), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if i == Bad {
			if err := faulty.Break(Slow); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := c.Get(ctx, "lock4").Err(); err != nil || time.Since(start) < SlowBy {
				t.Errorf("a slow node answered in %v: %v", time.Since(start), err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	far, err := s.Far()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range far.Addrs() {
		c := redis.NewClient(&redis.Options{Addr: addr})
		start := time.Now()
		if err := c.Ping(ctx).Err(); err != nil || time.Since(start) < FarBy {
			t.Errorf("a far node answered in %v: %v", time.Since(start), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := far.Close(); err != nil {
		t.Error(err)
	}
	count := func(skip int) int {
		n, err := s.Leftovers(ctx, skip, func(key, _ string) bool { return strings.HasPrefix(key, "lock") })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if all, some := count(-1), count(Bad); all != 5 || some != 4 {
		t.Errorf("%d and %d keys are left, want 5 and 4", all, some)
	}
	if n, err := s.Commands(ctx); err != nil || n < 6 {
		t.Errorf("%d commands, %v; there were 6 and a few more", n, err)
	}
	if err := s.Reset(ctx); err != nil || count(-1) != 0 {
		t.Errorf("keys are left by Reset: %v", err)
	}
	if err := faulty.Close(); err != nil {
		t.Error(err)
	}
	s.Close()
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
}
