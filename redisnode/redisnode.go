package redisnode

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
)

const (
	defaultPrefix             = "redlock:"
	defaultTombstoneRetention = time.Minute
)

// Options adjusts a Node. The zero value serves with a client of your own;
// without one, Addr is required and everything else has a default.
type Options struct {
	// The server to connect to, and how, where New makes the client itself. With
	// a client of your own all of these stay empty.
	Addr     string // host:port, or the path of a unix socket
	Network  string // "tcp" or "unix"; by default "unix" if Addr begins with "/"
	Username string
	Password string
	DB       int
	TLS      *tls.Config // nil: no TLS

	// Name is the node's name in errors, events and logs. By default it is the
	// server's address and database, as in "127.0.0.1:6379/0". A Sentinel
	// client does not tell whose servers it finds: name those nodes yourself.
	Name string

	// Prefix begins the names of all keys the node writes; "redlock:" by
	// default. It must not contain '{', which decides on a key's cluster slot.
	// Nodes of one quorum should agree on it, and all programs must.
	Prefix string

	// Durable declares that the server loses no grant in a restart, so that it
	// may vote right after one. That takes appendonly yes with appendfsync
	// always, on a disk that keeps what it acknowledged, and no failover to a
	// replica, which always lags behind. If that is not so, two programs may
	// hold one lock after a crash.
	Durable bool

	// TombstoneRetention is how long the node remembers that an owner released;
	// 1 minute by default. A request that spends longer on its way may lock the
	// key for nobody until its TTL ends.
	TombstoneRetention time.Duration

	// Proxied says that a proxy or a load balancer stands before the server, so
	// that connections outlive it. The node then asks the server for its
	// identity on every call.
	Proxied bool

	// Clock measures how long ago the server told its age. The default is
	// redlock.SystemClock.
	Clock redlock.Clock
}

// Node is one Redis server, or one group of them that fails as one, as a voter.
// It is safe for concurrent use.
type Node struct {
	client  redis.UniversalClient
	own     bool  // made by New, so closed by Close
	invalid error // why no call can work

	name      string
	prefix    string
	wakes     string // what the channels begin with on which waiters are called
	durable   bool
	cluster   bool  // the client is a cluster's
	tombstone int64 // retention, in milliseconds
	clock     redlock.Clock
	identity  identity
	life      life

	stream *stream      // nil if one connection cannot carry all calls
	apart  atomic.Int64 // submitted calls under way without a stream
}

var (
	_ redlock.Node   = (*Node)(nil)
	_ redlock.Prober = (*Node)(nil)
)

// New makes a node of a client: for one server, a Sentinel failover group, or a
// cluster. The client stays yours, to close after the node's last call. New adds
// a hook to it that counts connections, so give it to New before its first use if
// you can.
//
// Without a client (nil) the node makes one from opts, with settings that suit
// locks: deadlines that count, and no time lost on retries. Close ends that one.
//
// Whatever a client's settings say, none repeats a call whose outcome is not known.
//
// New connects to nothing and never fails. If the options are wrong, every call
// returns an error that says so.
func New(client redis.UniversalClient, opts Options) *Node {
	n := &Node{
		client:    client,
		own:       client == nil,
		prefix:    orDefault(opts.Prefix, defaultPrefix),
		durable:   opts.Durable,
		tombstone: milliseconds(orDefault(opts.TombstoneRetention, defaultTombstoneRetention)),
		clock:     opts.Clock,
	}
	if n.clock == nil {
		n.clock = redlock.SystemClock()
	}
	n.wakes = n.prefix + "wake:"
	n.name = orDefault(opts.Name, defaultName(client, opts))
	if n.invalid = validate(client, opts); n.invalid != nil {
		return n
	}
	if n.own {
		n.client = newClient(opts)
	}
	n.identity.life = &n.life
	n.watch(opts.Proxied)
	if c, ok := streamable(n.client); ok {
		n.stream = newStream(n, c, opts.Proxied)
	}
	return n
}

// watch arranges for the node to learn of new connections, where it can.
func (n *Node) watch(proxied bool) {
	switch c := n.client.(type) {
	case *redis.Client:
		if !proxied {
			n.identity.dials = &dials{}
			c.AddHook(n.identity.dials)
		}
	case *redis.ClusterClient:
		n.identity.shared, n.cluster = true, true
	}
}

// Name implements redlock.Node.
func (n *Node) Name() string { return n.name }

// Close ends the calls that were submitted, with an error if they have no answer
// yet, and the client that New made. It leaves a client of your own alone. A node
// whose Submit was called must be closed before its client is.
func (n *Node) Close() error {
	if n.stream != nil {
		n.stream.close()
	}
	if !n.own || n.client == nil {
		return nil
	}
	if err := n.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return n.explain("close", err)
	}
	return nil
}

// Acquire implements redlock.Node.
func (n *Node) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	if req.TTL <= 0 {
		return redlock.Vote{}, n.explain("acquire", errTTL)
	}
	return n.vote(ctx, "acquire", acquireScript, req.Key, req.Owner,
		milliseconds(req.TTL), min(req.Hint, redlock.MaxFence), "1", "", "", "", "")
}

// Confirm implements redlock.Node.
func (n *Node) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	if req.Token > redlock.MaxFence {
		return redlock.Vote{}, n.explain("confirm", errToken)
	}
	return n.vote(ctx, "confirm", confirmScript, req.Key, req.Owner, req.Fence, req.Token)
}

// Extend implements redlock.Node.
func (n *Node) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	if req.TTL <= 0 {
		return redlock.Vote{}, n.explain("extend", errTTL)
	}
	return n.vote(ctx, "extend", extendScript, req.Key, req.Owner, req.Fence, milliseconds(req.TTL))
}

// Release implements redlock.Node.
func (n *Node) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	if err := n.check(req.Key, req.Owner); err != nil {
		return n.explain("release", err)
	}
	names := n.namesOf(req.Key)
	_, err := within(ctx, n.clock, func() (answer, error) {
		_, err := releaseScript.run(ctx, n.client, names.of(req.Owner), "", req.Owner, n.tombstone, n.wakes, "1", names.at)
		return answer{}, err
	})
	if err != nil {
		return n.explain("release", err)
	}
	return nil
}

// Inspect implements redlock.Node.
func (n *Node) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	if err := n.check(key, "none"); err != nil {
		return redlock.NodeState{}, n.explain("inspect", err)
	}
	names := n.namesOf(key)
	a, who, err := n.ask(ctx, inspectScript, names.of(""), names.at)
	if err != nil {
		return redlock.NodeState{}, n.explain("inspect", err)
	}
	return redlock.NodeState{
		Held:        a.yes,
		Owner:       a.holder(),
		Fence:       a.fence,
		Remaining:   a.left,
		Counter:     a.counter,
		Clock:       a.clock,
		Incarnation: who.incarnation,
		Age:         who.age,
	}, nil
}

// vote runs a script that grants or refuses. All of them take the counter and the owner first.
func (n *Node) vote(ctx context.Context, op string, s *script, key, owner string, args ...any) (redlock.Vote, error) {
	if err := n.check(key, owner); err != nil {
		return redlock.Vote{}, n.explain(op, err)
	}
	names := n.namesOf(key)
	args = append([]any{names.at, owner}, args...)
	a, who, err := n.ask(ctx, s, names.of(owner), args...)
	if err != nil {
		return redlock.Vote{}, n.explain(op, err)
	}
	return n.voteOf(a, who), nil
}

// voteOf makes a vote of a script's answer.
func (n *Node) voteOf(a answer, who identified) redlock.Vote {
	if n.durable {
		who.age = 0
	}
	vote := redlock.Vote{
		Granted:     a.yes,
		Counter:     a.counter,
		Clock:       a.clock,
		ClockBefore: a.before,
		Incarnation: who.incarnation,
		Age:         who.age,
	}
	if a.yes {
		vote.Fence = a.fence
	} else {
		vote.Holder, vote.Remaining, vote.Queued = a.holder(), a.left, a.queued
	}
	return vote
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
	case isReserved(owner):
		return fmt.Errorf("the owner %.40q has a character that an id cannot have", owner)
	}
	return nil
}

// demoted notes that the server is a replica: its data are another's now.
func (n *Node) demoted() {
	n.life.demote()
	n.identity.doubt()
}

// asked is an answer together with who gave it.
type asked struct {
	answer
	identified
}

// ask runs a script and tells which server answered and how old that is.
func (n *Node) ask(ctx context.Context, s *script, keys []string, args ...any) (answer, identified, error) {
	got, err := within(ctx, n.clock, func() (asked, error) {
		return n.askNow(ctx, s, keys, args)
	})
	if isReplica(err) {
		n.demoted()
	}
	if n.durable {
		got.age = 0
	}
	return got.answer, got.identified, err
}

// askNow asks for the server's identity where that is not known for certain. If
// the client made a connection during a call that did not ask, then that call may
// have reached another process than the one remembered, and is made again: the
// operations are idempotent.
func (n *Node) askNow(ctx context.Context, s *script, keys []string, args []any) (asked, error) {
	dialled := n.identity.dialledSoFar()
	if !n.identity.mustAsk(dialled) {
		sent := n.clock.Now()
		a, err := runScript(ctx, n.client, s, keys, append([]any{""}, args...)...)
		if err != nil {
			return asked{}, err
		}
		if who, ok := n.identity.recall(dialled, sent, n.clock.Now()); ok {
			return asked{a, who}, nil
		}
		dialled = n.identity.dialledSoFar()
	}
	sent := n.clock.Now()
	a, err := runScript(ctx, n.client, s, keys, append([]any{n.mode()}, args...)...)
	if err != nil {
		return asked{}, err
	}
	return asked{a, n.identity.learn(a.server, dialled, sent, n.clock.Now())}, nil
}

// mode says how much depends on the server's identity; see lua/common.lua.
func (n *Node) mode() string {
	if n.durable {
		return "may"
	}
	return "must"
}
