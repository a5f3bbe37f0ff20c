// Package mysqlnode makes a MySQL or MariaDB server a voter of a redlock quorum.
//
//	node := mysqlnode.New(nil, mysqlnode.Options{
//		Addr: "10.0.0.1:3306", User: "locks", Password: password, Database: "locks",
//	})
//	defer node.Close()
//	err := node.Init(ctx) // once: creates the tables
//
// or, with a *sql.DB that was opened with multiStatements=true:
//
//	node := mysqlnode.New(db, mysqlnode.Options{Name: "db1"})
//
// Each operation is one text of several statements, one round trip, and atomic. It
// keeps to what MySQL 5.7 to 9 and MariaDB 10.2 and later document alike; tests
// run on MariaDB 10.11.
//
// # Two kinds
//
// Lease rows, the default, keep owner, fence and expiry in a row for each key. A
// lock costs no connection while it is held, survives a restart of the server
// and ends a TTL after its holder has vanished.
//
// Session locks are GET_LOCK: a lock is a connection of its own, and the server
// frees it when that ends. The key of a process that dies is free within
// milliseconds, not after a TTL, and no clock of the server's takes part. In return:
//
//   - Every lock that is held takes one of the server's connections
//     (max_connections), and getting it mostly takes a new one.
//   - A connection that breaks is a lock that is lost: the next vote on it is a
//     refusal. Proxies that cut idle connections must be told to wait for longer
//     than a third of the TTL, which is how often a lease is renewed. A server
//     that merely stalls loses nothing: a call that was given up goes on until the
//     TTL has passed.
//   - A restart of the server frees all, so the node has an age and is not
//     counted for a while after one.
//   - A TTL is ended by the client, on time. If it cannot, because no packet of its
//     comes through, the server does after the TTL, rounded up to seconds, and one
//     second more (wait_timeout).
//   - A grant belongs to the Node that made it: only that can confirm and
//     extend it. Releasing it from elsewhere ends its connection (KILL), which the
//     same database user may.
//
// Two kinds on one server are one voter, not two.
//
// # What it writes
//
// With the default name, in the database of the connection:
//
//	redlock                    a row for each key; deleted FenceRetention after its last use
//	redlock_released           the tombstones: an owner that released; deleted after TombstoneRetention
//	redlock_session            the same for session locks,
//	redlock_session_released   and for their releases by others
//
// Nothing is created but by [Node.Init], or from [Node.Schema] by you. The user
// needs SELECT, INSERT, UPDATE and DELETE on the tables, and CREATE for Init. Each
// node deletes in the background, a few hundred rows at a time. Names of session
// locks are "redlock:" and a hash of the table's name and the key; they are the
// server's and not the database's, so applications that share a server should
// choose tables of different names.
//
// A session of your pool keeps some variables that begin with @redlock_, and has
// its own settings after a call as before. A call that fails costs its connection,
// as it may have left a transaction behind.
//
// # What the server must be
//
// Writable, with InnoDB. A read-only replica cannot vote, and a proxy that sends
// reads elsewhere must not do so here.
//
// Lease rows run on the server's wall clock (UTC_TIMESTAMP). If that is set
// forward, locks end early; if it is set back, they last longer. Let it be slewed,
// not stepped. Every vote shows this clock, so that the Locker can bar a server
// whose clock leapt, but it can do so only by comparison with what the same
// program saw before.
//
// No call waits in the server for longer than a second for a row or table that
// somebody else has locked, also when its client has given up.
//
// # Restarts
//
// Lease rows survive a crash if innodb_flush_log_at_trx_commit is 1 and, where
// there is a binary log, sync_binlog is 1 (MariaDB's default is 0). The node reads
// these settings with every vote. While they are so, it loses nothing and has no
// age; otherwise it tells the server's uptime, and the Locker does not count it
// while it is younger than a grant can be old. Three things follow:
//
//   - Settings are believed as they are: a server that ran with others before its
//     last restart, that was restored from a backup or that lost its disk has
//     lost grants nevertheless. Keep clients from it for their MaxTTL.
//   - When another server answers than before, as after a failover, the node counts
//     its age from then on. It cannot see one that happened before the program's
//     first call. Where a failover loses nothing (synchronous replication, shared
//     storage), declare the node Options.Durable.
//   - A proxy that keeps connections while it changes servers takes
//     Options.Proxied.
//
// A group of servers with replication, Galera included, is one node, as it fails
// as one: a quorum takes several of them. In a Galera cluster let each program use
// one server at a time, and declare the node Durable.
//
// # Without a table
//
// Session locks can do without a table, if you may have none (Options.NoTable). Then
// nothing keeps the counter but the server's clock:
//
//   - Fences are that clock in microseconds, read under the lock. They grow as
//     long as the clock is not set back. The hint of the contract is not kept.
//   - A confirm is refused unless the clock has passed the token: what cannot be
//     remembered is not promised. When clients' clocks are ahead of the server's,
//     a quorum's token comes from the other nodes, and without enough of them an
//     attempt fails rather than give a token that might come again.
//   - Attempts take two round trips, for the fences of other nodes differ from these.
//   - A refusal names the connection that has the lock, and no owner nor time.
//     Another process can release it only by force: ForceUnlock ends the connection.
package mysqlnode
