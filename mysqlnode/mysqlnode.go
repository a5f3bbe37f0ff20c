package mysqlnode

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
)

const (
	defaultFenceRetention     = 7 * 24 * time.Hour
	defaultTombstoneRetention = time.Minute
)

// Mode is a way of locking with MySQL.
type Mode int

const (
	// Lease keeps a row for each key, with its owner and its expiry. It needs a
	// table, and no connection while a lock is held.
	Lease Mode = iota

	// Session is GET_LOCK: the server frees the lock when the connection that
	// has it ends. It takes a connection for each lock that is held.
	Session
)

// String is "lease" or "session".
func (m Mode) String() string {
	switch m {
	case Lease:
		return "lease"
	case Session:
		return "session"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// Options adjusts a Node. The zero value serves with a database of your own;
// without one, DSN or Addr is required and everything else has a default.
type Options struct {
	// The server to connect to, and how, where New opens the database itself:
	// either a DSN of go-sql-driver/mysql, or Addr and its companions. With a
	// database of your own all of these stay empty.
	DSN      string
	Addr     string // host:port, or the path of a unix socket
	Network  string // "tcp" or "unix"; by default "unix" if Addr begins with "/"
	User     string
	Password string
	Database string
	TLS      *tls.Config // nil: no TLS

	// Mode is the kind of node: Lease, the default, or Session.
	Mode Mode

	// Name is the node's name in errors, events and logs. By default it is the
	// server's address and database, as in "127.0.0.1:3306/locks". A database
	// of your own does not tell those: name such nodes yourself.
	Name string

	// Table is the name of the table, as in "redlock", the default, or
	// "locks.redlock"; some more begin with it. All programs must agree on it. For
	// session locks it also keeps their names apart, which are the server's and
	// not a database's.
	Table string

	// NoTable makes session locks do without a table. Fences then are the
	// server's clock in microseconds, and a confirm is refused unless that clock
	// has passed the token, for there is nothing to keep it in. Read the package
	// documentation before you use it.
	NoTable bool

	// Durable declares that no grant of the server's is lost, neither in a crash
	// nor in a failover. Without it a Lease node goes by the server's settings,
	// and takes a change of servers for a loss. Session locks cannot be durable.
	Durable bool

	// FenceRetention is how long the counter of an idle key is kept; 7 days by
	// default. It must be longer than redlock.HintHorizon, or else a counter that
	// a client with a fast clock drove ahead would be forgotten before the
	// clocks of the others have passed it, and tokens would go back.
	FenceRetention time.Duration

	// TombstoneRetention is how long the node remembers that an owner released;
	// 1 minute by default. A request that spends longer on its way may lock the
	// key for nobody until its TTL ends.
	TombstoneRetention time.Duration

	// Proxied says that a proxy stands before the server that keeps connections
	// when the server is restarted or replaced. The node then asks the server for
	// its identity on every call.
	Proxied bool

	// Clock times calls, the age of servers and the end of session locks. The
	// default is redlock.SystemClock.
	Clock redlock.Clock
}

// Node is one MySQL or MariaDB server, or one group of them that fails as one, as
// a voter. It is safe for concurrent use.
type Node struct {
	db      *sql.DB
	own     bool  // opened by New, so closed by Close
	plain   bool  // opened without TLS
	invalid error // why no call can work
	closed  atomic.Bool

	name      string
	mode      Mode
	tables    tables
	noTable   bool
	locks     string // begins what the names of session locks are hashed from
	durable   bool
	proxied   bool
	retention int64 // of counters, in microseconds
	tombstone int64 // retention, in microseconds
	clock     redlock.Clock

	identity identity
	sweeper  sweeper
	grants   grants // of a Session node
}

var (
	_ redlock.Node   = (*Node)(nil)
	_ redlock.Prober = (*Node)(nil)
)

// New makes a node of a database, which must have been opened with
// multiStatements=true and is used by nobody who depends on the variables of a
// session. It stays yours, to close after the node.
//
// Without a database (nil) the node opens one from opts, with settings that suit
// locks. Close ends that one.
//
// New connects to nothing, creates nothing and never fails. If the options are
// wrong, every call returns an error that says so; if the tables are missing, one
// that says to call Init.
func New(db *sql.DB, opts Options) *Node {
	table := orDefault(opts.Table, defaultTable)
	n := &Node{
		db:        db,
		own:       db == nil,
		mode:      opts.Mode,
		tables:    newTables(table, opts.Mode),
		noTable:   opts.NoTable,
		locks:     table,
		durable:   opts.Durable,
		proxied:   opts.Proxied,
		retention: microseconds(orDefault(opts.FenceRetention, defaultFenceRetention)),
		tombstone: microseconds(orDefault(opts.TombstoneRetention, defaultTombstoneRetention)),
		clock:     opts.Clock,
	}
	if n.clock == nil {
		n.clock = redlock.SystemClock()
	}
	n.sweeper.init(n.clock.Now())
	n.grants.init()
	if n.invalid = validate(db, opts); n.invalid != nil {
		n.name = orDefault(opts.Name, defaultName(nil, opts))
		return n
	}
	if n.own {
		config, err := newConfig(opts)
		n.name = orDefault(opts.Name, defaultName(config, opts))
		if err == nil {
			n.db, err = open(config, opts.Mode)
			n.plain = config.TLS == nil && network(opts) == "tcp"
		}
		n.invalid = err
		return n
	}
	n.name = orDefault(opts.Name, "mysql")
	return n
}

// Name implements redlock.Node.
func (n *Node) Name() string { return n.name }

// Close gives up the session locks that are held and ends the database that New
// opened. It leaves a database of your own alone. Calls made later fail.
func (n *Node) Close() error {
	n.closed.Store(true)
	n.sweeper.close()
	n.grants.close()
	if !n.own || n.db == nil {
		return nil
	}
	if err := n.db.Close(); err != nil {
		return n.explain("close", err)
	}
	return nil
}

// Acquire implements redlock.Node.
func (n *Node) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	if req.TTL <= 0 {
		return redlock.Vote{}, n.explain("acquire", errTTL)
	}
	vote, err := call(ctx, n, "acquire", req.Key, req.Owner, func(ctx context.Context) (redlock.Vote, error) {
		if n.mode == Session {
			return n.sessionAcquire(ctx, req)
		}
		return n.leaseVote(ctx, n.leaseAcquire(req))
	})
	if err == nil && !vote.Granted && vote.Holder == "" && vote.Counter >= redlock.MaxFence {
		return redlock.Vote{}, n.explain("acquire", errFences)
	}
	return vote, err
}

// Confirm implements redlock.Node.
func (n *Node) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	if req.Token > redlock.MaxFence {
		return redlock.Vote{}, n.explain("confirm", errToken)
	}
	return call(ctx, n, "confirm", req.Key, req.Owner, func(ctx context.Context) (redlock.Vote, error) {
		if n.mode == Session {
			return n.sessionConfirm(ctx, req)
		}
		return n.leaseVote(ctx, n.leaseConfirm(req))
	})
}

// Extend implements redlock.Node.
func (n *Node) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	if req.TTL <= 0 {
		return redlock.Vote{}, n.explain("extend", errTTL)
	}
	return call(ctx, n, "extend", req.Key, req.Owner, func(ctx context.Context) (redlock.Vote, error) {
		if n.mode == Session {
			return n.sessionExtend(ctx, req)
		}
		return n.leaseVote(ctx, n.leaseExtend(req))
	})
}

// Release implements redlock.Node.
func (n *Node) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	_, err := call(ctx, n, "release", req.Key, req.Owner, func(ctx context.Context) (struct{}, error) {
		if n.mode == Session {
			return struct{}{}, n.sessionRelease(ctx, req)
		}
		_, err := n.ask(ctx, n.leaseRelease(req))
		return struct{}{}, err
	})
	return err
}

// Inspect implements redlock.Node.
func (n *Node) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	return call(ctx, n, "inspect", key, "none", func(ctx context.Context) (redlock.NodeState, error) {
		text := n.leaseInspect
		if n.mode == Session {
			text = n.sessionInspect
		}
		a, err := n.ask(ctx, text(key))
		if err != nil {
			return redlock.NodeState{}, err
		}
		state := redlock.NodeState{
			Held:        a.yes,
			Counter:     a.counter,
			Clock:       a.clock,
			Incarnation: a.incarnation,
			Age:         a.age,
		}
		if state.Held {
			state.Owner, state.Remaining = a.holder(), a.left
			if a.known() {
				state.Fence = a.fence
			}
		}
		return state, nil
	})
}

// leaseVote runs a text that grants or refuses.
func (n *Node) leaseVote(ctx context.Context, text string) (redlock.Vote, error) {
	a, err := n.ask(ctx, text)
	if err != nil {
		return redlock.Vote{}, err
	}
	return a.vote(), nil
}

// check refuses what cannot be asked of any server.
func (n *Node) check(key, owner string) error {
	switch {
	case n.invalid != nil:
		return n.invalid
	case n.closed.Load():
		return errClosed
	case key == "":
		return errors.New("the key is empty")
	case len(key) > redlock.MaxKeyLength:
		return errKeyLength
	case owner == "":
		return errors.New("the owner is empty")
	case len(owner) > maxOwner:
		return errOwnerLength
	}
	return nil
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
