package zknode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-zookeeper/zk"
	"github.com/quorumlock/redlock"
)

const (
	defaultRoot               = "/redlock"
	defaultSessionTimeout     = 20 * time.Second
	defaultFenceRetention     = 7 * 24 * time.Hour
	defaultTombstoneRetention = time.Minute
)

// Options adjusts a Node. Without a connection of your own, Servers is required;
// with one, SessionTimeout is. Everything else has a default.
type Options struct {
	// The ensemble to connect to, and how, where New makes the connection
	// itself. With a connection of your own these stay empty.
	Servers []string    // host[:port] each; the default port is 2181
	Auth    []Auth      // credentials to show
	TLS     *tls.Config // nil: no TLS. The default for ServerName is the server's host
	Dialer  zk.Dialer   // nil: plain TCP; under TLS if that is set

	// SessionTimeout is how long the ensemble keeps a session, and so the
	// grants of a dead client, without a sign of life; 20 s by default. The
	// longest TTL that the node can promise is three quarters of it. The
	// server has limits of its own, by default 2 and 20 ticks (4 and 40 s), and
	// what it grants is what counts. With a connection of your own this is the
	// timeout that its server granted: the driver does not tell it.
	SessionTimeout time.Duration

	// Name is the node's name in errors, events and logs. By default it is the
	// servers and the root, as in "10.0.0.1:2181/redlock". Give a node with a
	// connection of your own a name: it does not tell its servers.
	Name string

	// Root is the path under which the node keeps everything; "/redlock" by
	// default. It is created with the first lock, parents included. Programs
	// that lock the same things must agree on it.
	Root string

	// ACL is set on every znode the node creates. The default is everything for
	// everybody, or, with Auth, everything for those who show the same
	// credentials. Programs that lock the same things must all have all rights
	// but admin.
	ACL []zk.ACL

	// Durable declares that the ensemble never loses what it acknowledged: its
	// servers keep their data directories, and forceSync is on, as it is by
	// default. Without it, a node whose root is new does not vote for MaxTTL,
	// for nobody can tell a new ensemble from one that lost everything.
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

	// Clock ends grants after their TTL, and measures. The default is
	// redlock.SystemClock.
	Clock redlock.Clock
}

// Auth is a pair of credentials for ZooKeeper, such as {"digest", "user:password"}.
type Auth struct {
	Scheme      string
	Credentials string
}

// Node is a ZooKeeper ensemble as a voter. It is safe for concurrent use.
type Node struct {
	name    string
	invalid error // why no call can work
	clock   redlock.Clock
	source  source
	own     bool // the connection is
	auth    []Auth
	acl     []zk.ACL
	root    string
	durable bool

	retention time.Duration // of counters
	horizon   serverClock
	released  *recent // owners that released here
	asked     *recent // owners that asked here

	preparing sync.Mutex // one call at a time prepares a session
	authed    bool       // under preparing

	life  context.Context // ends when the node is closed
	end   context.CancelFunc
	calls sync.WaitGroup // goroutines

	ids atomic.Uint64 // made here

	mu       sync.Mutex
	closed   bool
	ready    session // with what is known of it; none if its conn is nil
	lanes    map[laneID]*lane
	surveyed string              // the incarnation that cache is of
	cache    map[string]state    // the keys as they were seen last
	waits    map[string]*watcher // by waiter
	swept    time.Duration       // when this node last saw to idle keys
}

var (
	_ redlock.Node   = (*Node)(nil)
	_ redlock.Prober = (*Node)(nil)
	_ redlock.Waker  = (*Node)(nil)
)

// New makes a node of a connection. The connection stays yours, to close after
// the node.
//
// Without a connection (nil) the node makes one from opts with its first call,
// and keeps it up until Close. It does there what the driver leaves undone: for one,
// a connection of your own may hang for good if it breaks while it is closed, or
// while it shows its credentials again.
//
// New connects to nothing and never fails. If the options are wrong, every call
// returns an error that says so.
func New(conn *zk.Conn, opts Options) *Node {
	n := &Node{
		clock:     opts.Clock,
		own:       conn == nil,
		auth:      slices.Clone(opts.Auth),
		root:      strings.TrimSuffix(orDefault(opts.Root, defaultRoot), "/"),
		durable:   opts.Durable,
		retention: orDefault(opts.FenceRetention, defaultFenceRetention),
		lanes:     map[laneID]*lane{},
		cache:     map[string]state{},
		waits:     map[string]*watcher{},
	}
	if n.clock == nil {
		n.clock = redlock.SystemClock()
	}
	n.life, n.end = context.WithCancel(context.Background())
	n.released = newRecent(n.clock, orDefault(opts.TombstoneRetention, defaultTombstoneRetention))
	n.asked = newRecent(n.clock, orDefault(opts.TombstoneRetention, defaultTombstoneRetention))
	n.name = orDefault(opts.Name, defaultName(conn, opts, n.root))
	if n.invalid = validate(conn, opts); n.invalid != nil {
		return n
	}
	n.acl = slices.Clone(opts.ACL)
	if n.acl == nil {
		n.acl = zk.WorldACL(zk.PermAll)
		if len(opts.Auth) > 0 {
			n.acl = zk.AuthACL(zk.PermAll)
		}
	}
	if conn != nil {
		n.source = &borrowed{conn: conn, declared: opts.SessionTimeout, clock: n.clock}
		return n
	}
	opts.SessionTimeout = orDefault(opts.SessionTimeout, defaultSessionTimeout)
	opts.Servers = slices.Clone(opts.Servers)
	for i, server := range opts.Servers {
		opts.Servers[i] = address(server)
	}
	n.source = newLink(opts, n.clock)
	return n
}

// Name implements redlock.Node.
func (n *Node) Name() string { return n.name }

// Close gives up what the node still holds, and ends the connection if New made
// it.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed || n.invalid != nil {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	lanes := make([]*lane, 0, len(n.lanes))
	for _, l := range n.lanes {
		if l.timer != nil {
			l.timer.Stop()
		}
		lanes = append(lanes, l)
	}
	watchers := slices.DeleteFunc(slices.Collect(maps.Values(n.waits)), func(w *watcher) bool { return !w.placed })
	n.mu.Unlock()
	defer n.end()
	if !n.own {
		return n.giveBack(lanes, watchers)
	}
	n.end()
	n.source.close() // the session ends, and what it holds with it
	n.calls.Wait()
	return nil
}

// Acquire implements redlock.Node.
func (n *Node) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	return ask(ctx, n, "acquire", req.Key, req.Owner, func(c *call) (redlock.Vote, error) {
		if req.TTL <= 0 {
			return redlock.Vote{}, errTTL
		}
		return n.acquire(c, req)
	})
}

// Confirm implements redlock.Node.
func (n *Node) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	return ask(ctx, n, "confirm", req.Key, req.Owner, func(c *call) (redlock.Vote, error) {
		if req.Token > redlock.MaxFence {
			return redlock.Vote{}, errToken
		}
		return n.confirm(c, req)
	})
}

// Extend implements redlock.Node.
func (n *Node) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	return ask(ctx, n, "extend", req.Key, req.Owner, func(c *call) (redlock.Vote, error) {
		if req.TTL <= 0 {
			return redlock.Vote{}, errTTL
		}
		return n.extend(c, req)
	})
}

// Release implements redlock.Node.
func (n *Node) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	_, err := ask(ctx, n, "release", req.Key, req.Owner, func(c *call) (struct{}, error) {
		return struct{}{}, n.release(c, req)
	})
	return err
}

// Inspect implements redlock.Node.
func (n *Node) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	return ask(ctx, n, "inspect", key, "none", func(c *call) (redlock.NodeState, error) {
		return n.inspect(c, key)
	})
}

// check refuses what cannot be asked of any server.
func (n *Node) check(key, owner string) error {
	switch {
	case n.invalid != nil:
		return n.invalid
	case key == "":
		return errors.New("the key is empty")
	case len(key) > redlock.MaxKeyLength:
		return errKeyLength
	case owner == "":
		return errors.New("the owner is empty")
	case !utf8.ValidString(owner):
		return errors.New("the owner is not valid UTF-8")
	}
	return nil
}

func validate(conn *zk.Conn, opts Options) error {
	if err := validateRoot(opts.Root); err != nil {
		return err
	}
	if opts.FenceRetention != 0 && opts.FenceRetention <= redlock.HintHorizon {
		return fmt.Errorf("FenceRetention must be longer than %v (redlock.HintHorizon), not %v", redlock.HintHorizon, opts.FenceRetention)
	}
	if opts.TombstoneRetention < 0 {
		return fmt.Errorf("TombstoneRetention must not be negative, is %v", opts.TombstoneRetention)
	}
	if t := opts.SessionTimeout; t < 0 || t > math.MaxInt32*time.Millisecond || t > 0 && t < 3*time.Millisecond {
		return fmt.Errorf("SessionTimeout must be between 3 ms and 596 h, not %v", t)
	}
	if conn == nil {
		return validateServers(opts.Servers)
	}
	if len(opts.Servers) > 0 || len(opts.Auth) > 0 || opts.TLS != nil || opts.Dialer != nil {
		return errors.New("Options.Servers, Auth, TLS and Dialer are for a connection that New makes: they cannot change the one given")
	}
	if opts.SessionTimeout == 0 {
		return errors.New("SessionTimeout is needed with a connection of your own: the timeout that its server granted, which the driver does not tell")
	}
	return nil
}

func validateServers(servers []string) error {
	if len(servers) == 0 {
		return errors.New("neither a connection nor Options.Servers was given")
	}
	for _, server := range servers {
		host, _, err := net.SplitHostPort(address(server))
		if err != nil || host == "" || strings.ContainsAny(server, "@/, ") {
			// It may hold a password, so it is not shown.
			return errors.New("Options.Servers must be host or host:port each, not URLs or lists")
		}
	}
	return nil
}

func validateRoot(root string) error {
	switch {
	case root == "" || root == "/":
		return nil
	case root[0] != '/':
		return errors.New("Options.Root must begin with '/'")
	case root == "/zookeeper" || strings.HasPrefix(root, "/zookeeper/"):
		return errors.New("Options.Root must not be under /zookeeper: that is ZooKeeper's own")
	}
	for _, name := range strings.Split(strings.TrimSuffix(root[1:], "/"), "/") {
		if name == "" || name == "." || name == ".." || strings.ContainsFunc(name, unfit) || !utf8.ValidString(name) {
			return errors.New("Options.Root must be a path of ZooKeeper: names between slashes, none of them empty, \".\" or \"..\", without control characters")
		}
	}
	return nil
}

// unfit are the characters that ZooKeeper does not take in a path.
func unfit(r rune) bool {
	return r <= '\u001f' || r >= '\u007f' && r <= '\u009f' || r >= '\ue000' && r <= '\uf8ff' || r >= '\ufff0' && r <= '\uffff'
}

// defaultName names the ensemble without anything secret: an address that is a
// URL by mistake is cut behind its credentials.
func defaultName(conn *zk.Conn, opts Options, root string) string {
	if conn != nil {
		return "zookeeper" + root
	}
	servers := make([]string, len(opts.Servers))
	for i, server := range opts.Servers {
		servers[i] = address(server[strings.LastIndex(server, "@")+1:])
	}
	return strings.Join(servers, ",") + root
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
