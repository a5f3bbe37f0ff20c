// Package lockers puts redlock and its peers behind one small interface, each set up
// as its own documentation says.
package lockers

import (
	"context"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

// TTL is asked for by every locker.
const TTL = 10 * time.Second

// Locker takes locks, for many goroutines at once.
type Locker interface {
	// Lock waits for the key until ctx ends.
	Lock(ctx context.Context, key string) (Held, error)
	Close()
}

// Held is a lock that is held.
type Held interface {
	Unlock(ctx context.Context) error
	Token() uint64 // 0 if the locker has no fencing tokens
}

// Where is where a locker finds its servers.
type Where struct {
	Redis     []string // the five
	MySQL     string
	ZooKeeper string
	Etcd      string
}

// Peer is a locker that takes part.
type Peer struct {
	Name string
	On   servers.Kind
	// Nodes is how many servers vote. One that asks fewer than the five is not
	// comparable in what it promises.
	Nodes int
	Note  string
	Lone  bool // it serves one caller at a time, so it takes part alone only
	Open  func(Where) (Locker, error)
	// IsLock tells the locker's locks from its other keys on a redis-server, by name
	// and value; an empty value is one that is not known yet. Nil if it has none there.
	IsLock func(name, value string) bool
}

// Quorum says whether the peer asks a majority of the five redis-servers, for many
// callers at once.
func (p *Peer) Quorum() bool {
	return p.On == servers.Redis && p.Nodes == servers.RedisNodes && !p.Lone
}

// The names that others refer to.
const (
	Redlock   = "redlock"
	Redsync   = "redsync"
	FanOut    = "go-redis fan-out"
	Pipelined = "go-redis pipelined"
	Syscalls  = "system calls"
)

// All are all peers, redlock first.
func All() []Peer {
	five, one := servers.RedisNodes, 1
	return []Peer{
		{Redlock, servers.Redis, five, "fenced", false, openRedlock, isRedlockLock},
		{Redsync, servers.Redis, five, "waits for all nodes, as by default", false, redsyncOpener(goRedisPools, false), isAny},
		{"redsync FailFast", servers.Redis, five, "returns on a majority", false, redsyncOpener(goRedisPools, true), isAny},
		{"redsync rueidis", servers.Redis, five, "waits for all nodes", false, redsyncOpener(rueidisPools, false), isAny},
		{FanOut, servers.Redis, five, "SET NX PX, compare-and-delete; returns on a majority; no fencing, no renewal", false, openFanOut, isAny},
		{Pipelined, servers.Redis, five, "the same with a pipeline and a worker per node", false, openPipelined, isAny},
		{Syscalls, servers.Redis, five, "the floor: RESTORE and SREM by one thread's own system calls; no fencing; returns on a majority", true, openBySyscalls, isAny},
		{"rueidislock", servers.Redis, one, "one server", false, openRueidislock, isAny},
		{"bsm/redislock", servers.Redis, one, "one server", false, openRedislock, isAny},
		{"MariaDB GET_LOCK", servers.MySQL, one, "one server, no disk", false, openGetLock, nil},
		{"go-zookeeper lock", servers.ZooKeeper, one, "an ensemble of one, forceSync=no", false, openZooKeeper, nil},
		{"etcd mutex", servers.Etcd, one, "a cluster of one", false, openEtcd, nil},
	}
}

// isAny is for lockers that keep nothing on a server but locks.
func isAny(string, string) bool { return true }

// released is what the operations of a lock come down to for most of the peers.
type released func(ctx context.Context) error

func (r released) Unlock(ctx context.Context) error { return r(ctx) }
func (released) Token() uint64                      { return 0 }
