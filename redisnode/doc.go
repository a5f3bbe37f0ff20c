// Package redisnode makes a Redis server a voter of a redlock quorum.
//
//	node := redisnode.New(nil, redisnode.Options{Addr: "10.0.0.1:6379"})
//	defer node.Close()
//
// or, with a client of github.com/redis/go-redis/v9 that you have:
//
//	node := redisnode.New(client, redisnode.Options{})
//
// Each operation is one round trip: a Lua script, which is atomic, or, on Redis 7
// and later, plain commands where a key is most likely free. It runs on Redis 6.2
// and later (tested on 7.0), on what speaks the same protocol, and on miniredis in
// tests.
//
// A Locker's calls share one connection of their own and are answered in order, so
// that concurrent callers share writes, reads and round trips, and a release
// cannot be overtaken by its acquire. Over that connection the server calls
// waiters, too. Clusters, and clients with streaming credentials, are used through
// their pools.
//
// # What it writes
//
// With the default prefix, for a key "orders" and an owner of 32 digits:
//
//	redlock:{orders}                   the lock: a hash {owner: fence}, or, if a script
//	                                   wrote it, "owner:fence:counter:end"; lasts for
//	                                   the TTL. Of "~waiter" while a freed key is set
//	                                   aside for that one, some 60 ms
//	redlock:{orders}:queue             the places of those who wait; goes with the last
//	                                   of them, or a minute after one asked
//	redlock:{orders}:released:<owner>  a tombstone; lasts for TombstoneRetention
//	redlock:fences                     the counters of all keys, half a megabyte; on a
//	                                   cluster redlock:{<number>}:fences, for each slot
//	redlock:wake:<client>              a channel, to call a client's waiters on
//
// A key may hold any bytes; '%' and '}' in it are written %25 and %7D. The braces
// keep all its names in one slot of a cluster. Other data found under these names
// is left alone: a string counts as a lock held by somebody unknown, and any other
// type is an error.
//
// Counters are never forgotten: there are 65,536, and keys share them. So all programs
// must use a server through the same kind of client, for a cluster or not.
//
// A key that is locked takes about 200 bytes of the server's memory. A release leaves a
// tombstone of about 200 bytes for a minute where its acquire might come after it
// otherwise: over pooled connections and through proxies, and where the user lacks
// the right to client|kill, by which the node makes sure that its connection is
// the only one.
//
// # What the server must be
//
// The server must not evict: set maxmemory-policy noeviction. With any other
// policy it may drop a lock that is held. The user needs these rights, and
// select for a database other than 0:
//
//	ACL SETUSER locks on >password ~redlock:* &redlock:* +hello +auth +info
//	    +eval +evalsha +get +set +del +exists +pttl +pexpire +hget +hdel +hgetall
//	    +zadd +zpopmin +zrange +zrem +getrange +setrange +time +publish
//
// With these in addition it is faster: +restore +bitfield +client|id +client|kill
// +script|load +script|exists; and with +subscribe +unsubscribe waiters are called, and
// need not poll. [Node.Probe] tells more with +config|get.
//
// TTLs run on the server's wall clock. If that is set forward, locks end early; if
// it is set back, they last longer. Let it be slewed, not stepped. Every vote
// shows this clock, so that the Locker can bar a server whose clock leapt, but it
// can do so only by comparison with what the same program saw before.
//
// # Restarts
//
// Redis loses grants in a restart unless it writes each to disk before it answers
// (appendonly yes, appendfsync always). So a node tells with every vote how long
// the server's process has been running, and the Locker does not count a server
// that is younger than a grant can be old. It learns run id and uptime on every
// new connection, because a restart ends all connections, and not on every call.
// Three things follow:
//
//   - Behind a proxy or a load balancer connections outlive the server: set
//     Options.Proxied. Then, and with a cluster, every call asks.
//   - A server with data that survives should be declared Options.Durable, or it
//     waits after each restart without need.
//   - The uptime comes of the server's wall clock too. A server whose clock was set
//     forward after its start passes for older than it is with a program that
//     has not seen it before.
//
// FLUSHALL, DEBUG RELOAD and the like lose grants and leave no trace of it. So does a
// server that is made a replica and a master again before a call finds it a replica;
// if one does, it counts as restarted.
//
// # Cluster and Sentinel
//
// A cluster or a group under Sentinel is one node, as it fails as one: a quorum
// takes several of them. Replication is asynchronous, so a failover loses the
// latest grants. A node that sees another server answer, which ran already while
// the first was heard, counts the server's age from then on. It cannot see a
// failover that happened before the program's first call, nor one in a cluster,
// where the master of a slot answers with its own uptime: that is for you to rule
// out, for instance by nodes that are single servers without replicas, which is
// what quorums are for. A program asks the Sentinels every second which server is
// the master, as the old one may go on as one; until it has heard, and while no
// Sentinel can be reached, it stays with the old one. Give every Sentinel node a
// Name, for the client does not tell which servers it found. A redis.Ring is
// refused.
package redisnode
