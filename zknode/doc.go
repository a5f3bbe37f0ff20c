// Package zknode makes a ZooKeeper ensemble a voter of a redlock quorum. One
// ensemble is one node, however many servers it has: it fails as one.
//
//	node := zknode.New(nil, zknode.Options{Servers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}})
//	defer node.Close()
//
// or, with a connection of github.com/go-zookeeper/zk that you have:
//
//	node := zknode.New(conn, zknode.Options{Name: "zk", SessionTimeout: 20 * time.Second})
//
// It was tested on ZooKeeper 3.8 and needs 3.5 or later. Access is plain or over
// TLS, with any scheme of AddAuth, such as digest; there is no SASL.
//
// # What it writes
//
// With the default root, for a key "orders":
//
//	/redlock/locks                 an identity, made up when the root is created
//	/redlock/locks/.9b41...        is there as long as the root with that identity
//	/redlock/locks/orders          the record: counter, owner, fence, TTL and who waits, as JSON
//	/redlock/locks/orders/c07d...  is there as long as this very record
//	/redlock/locks/orders/lease    an ephemeral znode: the key is held while it is there
//	/redlock/wake/5f0c...          an ephemeral znode: the waiter with that id can be called
//	/redlock/swept                 dates the last removal of idle keys
//
// A key may hold any bytes; all but letters, digits and -_~:,=+@! and dots inside
// are written %XX. Record and lease change together, in one transaction that names
// the version of the record, so it is the ensemble that excludes. It also demands
// that root and record are those that the program knows: a znode that was removed
// and made anew has its old versions again.
//
// An uncontended acquire is one round trip, and so are confirm, extend and
// release. If another program used the key since, an acquire is three: the
// ensemble refuses the first, and the key is looked at. On a key that this one has
// not used it is two at most: looked at and created at once. A refusal is three,
// since a server may lag behind the ensemble and has to catch up first. (The leader
// does not for its own clients. These may, just after a release that it told others
// of, be refused once more; no harm is done.) Writes go to a majority of the
// servers' disks, so ZooKeeper is the slowest of the voters, and the fast majority
// decides without it.
//
// A key takes about 900 bytes of the servers' memory, and is removed once it has
// not been used for FenceRetention; Node sees to that in passing. Removing
// /redlock by hand loses every grant and counter. Programs that run then see it,
// as does every program that is not told Durable.
//
// # Waiting
//
// The record of a key has places for up to 64 waiters, see [redlock.Waker]. A waiter
// with a place has a znode, which its client watches. The transaction that frees the
// key sets it aside for the oldest waiter and removes that one's znode: this is the
// call. If there is no such znode its session has ended, and the next in the queue
// is tried.
//
// A refusal with which a place is kept is two round trips. One who was called takes
// the key in two. A release is three if waiters have written to the record since, and
// one more for each that is passed over. A key that nobody waits for costs none of
// this.
//
// The queue is gone when the holder's session or TTL ends without a release, or when
// nobody takes what was set aside. Then, as after the end of its own session, a waiter
// has a place again once it has asked by itself.
//
// For how long a key is set aside is reckoned by the ensemble's clock, and by each
// node's own from when it saw that first. The earlier end counts, so a clock that is
// set back holds up nobody.
//
// # TTLs and sessions
//
// A grant lasts as long as its lease, and the lease as long as the session of the
// client that has it. So:
//
//   - A grant stands for its TTL at least. The session must then be longer than
//     the TTL: acquire and extend fail with an error that says so if the TTL is
//     more than three quarters of the session timeout that the server granted
//     (the last quarter is what an ensemble may forget of a session with the
//     server it was on). The default of 20 s is enough for TTLs up to 15 s.
//   - After its TTL the client itself ends the grant.
//   - A client that died or was cut off cannot. Then the ensemble frees the key
//     when the session ends: a session timeout after it last heard of the client,
//     and up to a tick later. Only waiting suffers. Close frees at once.
//   - Remaining, as a refusal tells it, is what is left of the TTL, by the
//     ensemble's clock as far as this node knows it. For a holder whose TTL is over
//     and who does not end it, it is a quarter of a second, which says: ask again.
//
// No lock depends on a wall clock. Sessions are timed by a clock that nobody can
// set, so votes show no clock: a leap of it would bar the node for nothing. Only
// how far ahead a hint may be is judged by the time that ZooKeeper stamps on what
// is written.
//
// While there is no connection, the session and its grants are in doubt, and every
// call fails at once: its outcome is unknown. The driver reconnects by itself.
// If the session lived on, so do its grants. If it has expired, the driver makes a
// new one, and every grant of the old one is refused from then on.
//
// The driver knows no contexts and repeats nothing. A call returns when its context
// ends. What it had sent may still be carried out: a grant of which nobody hears
// is taken back as soon as the answer comes, and one whose answer was lost is
// looked for as soon as there is a session again. A release waits for the
// acquire before it, on this node, and is final for requests from everywhere.
//
// # Restarts
//
// ZooKeeper acknowledges what is on a majority's disks (forceSync=yes, the
// default), so a restart loses nothing: neither grants nor sessions, which get
// their full time again. But a server whose data directory is a container's loses
// everything. Nobody can tell a new ensemble from such a one, so a node says with
// each vote how old its root is, and the Locker does not count a root that is
// younger than a grant can be old. Options.Durable says that this cannot happen,
// and a new root then votes at once.
//
// Two nodes on one ensemble are found out by the root's identity, unless they have
// different roots. Do not do that.
package zknode
