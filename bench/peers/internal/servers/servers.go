// Package servers starts the servers that lockers are measured on, counts what
// they did and what was left on them, and makes one of them a bad one.
package servers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/redlock/internal/testserver"
)

// RedisNodes is how many independent redis-servers make the quorum.
const RedisNodes = 5

// Kind is a kind of server.
type Kind string

// The kinds. Only Redis must be there.
const (
	Redis     Kind = "redis"
	MySQL     Kind = "mysql"
	ZooKeeper Kind = "zookeeper"
	Etcd      Kind = "etcd"
)

// Servers are those of one run. Close ends them.
type Servers struct {
	host   host
	redis  []*testserver.Redis
	admin  []*redis.Client // to each of them, for what is not measured
	mysql  *testserver.MariaDB
	zk     *testserver.ZooKeeper
	etcd   string
	pids   map[Kind][]int
	absent map[Kind]error
}

// Start starts five redis-servers, and one server of each other kind wanted, as far
// as they are installed. Whatever was started before an error has ended.
func Start(want map[Kind]bool) (*Servers, error) {
	s := &Servers{pids: map[Kind][]int{}, absent: map[Kind]error{}}
	for range RedisNodes {
		if err := s.start(Redis, func() { s.redis = append(s.redis, testserver.StartRedis(&s.host)) }); err != nil {
			s.Close()
			return nil, err
		}
	}
	for _, r := range s.redis {
		s.admin = append(s.admin, redis.NewClient(&redis.Options{Addr: r.Addr(), Protocol: 2, PoolSize: 1, MaxRetries: -1}))
	}
	optional := map[Kind]func(){
		MySQL: func() {
			s.mysql = testserver.StartMariaDB(&s.host, "--max-connections=2000")
		},
		ZooKeeper: func() {
			s.zk = testserver.StartZooKeeper(&s.host, testserver.ZooKeeperOptions{Tick: time.Second})
		},
		Etcd: s.startEtcd,
	}
	for _, kind := range []Kind{MySQL, ZooKeeper, Etcd} {
		if !want[kind] {
			continue
		}
		err := s.start(kind, optional[kind])
		if err != nil && !errors.Is(err, errMissing) {
			s.Close()
			return nil, err
		}
		if err != nil {
			s.absent[kind] = err
		}
	}
	return s, nil
}

// start starts a server and remembers its processes.
func (s *Servers) start(kind Kind, f func()) error {
	before := children()
	if err := attempt(f); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	for pid := range children() {
		if !before[pid] {
			s.pids[kind] = append(s.pids[kind], pid)
		}
	}
	return nil
}

// Close ends all servers.
func (s *Servers) Close() {
	for _, c := range s.admin {
		_ = c.Close()
	}
	s.host.close()
}

// Absent says why a kind that was wanted is not there.
func (s *Servers) Absent(kind Kind) error { return s.absent[kind] }

// RedisAddrs are the addresses of the five.
func (s *Servers) RedisAddrs() []string {
	addrs := make([]string, len(s.redis))
	for i, r := range s.redis {
		addrs[i] = r.Addr()
	}
	return addrs
}

// MySQLDSN is empty if there is no such server.
func (s *Servers) MySQLDSN() string {
	if s.mysql == nil {
		return ""
	}
	return s.mysql.DSN()
}

// ZooKeeperAddr is empty if there is no such server.
func (s *Servers) ZooKeeperAddr() string {
	if s.zk == nil {
		return ""
	}
	return s.zk.Addr()
}

// EtcdEndpoint is empty if there is no such server.
func (s *Servers) EtcdEndpoint() string { return s.etcd }

// Settle waits until the redis-servers are older than d: redlock does not count
// the votes of one that may have lost grants in a restart.
func (s *Servers) Settle(ctx context.Context, d time.Duration) error {
	for {
		youngest := time.Duration(-1)
		for _, c := range s.admin {
			up, err := c.InfoMap(ctx, "server").Result()
			if err != nil {
				return err
			}
			seconds, err := time.ParseDuration(up["Server"]["uptime_in_seconds"] + "s")
			if err != nil {
				return err
			}
			if youngest < 0 || seconds < youngest {
				youngest = seconds
			}
		}
		if youngest > d {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
