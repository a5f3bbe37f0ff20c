package redisnode

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// server is what a server says of itself when it is asked to identify itself.
type server struct {
	runID  string        // of its process; empty if it has none to show
	uptime time.Duration // in whole seconds; negative if it was not asked or is embedded
}

// uptimeSlack is by how much a server may overstate its uptime: it is the
// difference of two clock readings, each cut to whole seconds.
const uptimeSlack = time.Second

// identity remembers which server process a node talks to and since when that
// cannot have lost a grant, so that the server need not be asked on every call.
//
// That is sound because a process that dies takes its connections along: calls
// over connections that were all made before the server was last asked reach the
// process that answered then. So the server is asked again after every dial, and
// on every call where dials cannot tell: behind a proxy, in a cluster, with
// clients of unknown kinds, while none was seen, and once they went to several
// addresses.
type identity struct {
	dials  *dials // nil if dials cannot tell
	shared bool   // many processes answer in turn (a cluster): nothing can be remembered
	life   *life  // of the server, as seen over all connections

	mu      sync.Mutex
	known   bool
	settled bool   // server holds for all connections of the first dialled dials
	dialled uint64 // see settled
	server  server
	lost    time.Duration // the latest local instant at which grants may have been lost
	heard   time.Duration // the local instant of the last answer of this process
}

// identified is the part of a vote that speaks of the server.
type identified struct {
	incarnation string
	age         time.Duration
}

// dialledSoFar counts the dials before a call, to be told to learn or recall after the call.
func (i *identity) dialledSoFar() uint64 {
	if i.dials == nil {
		return 0
	}
	return i.dials.count.Load()
}

// recall gives what is known of the server that answered a call sent at sent. It
// reports false if the server must be asked. dialled is the count of dials from
// before the call, and the count now must be the same still.
func (i *identity) recall(dialled uint64, sent, received time.Duration) (identified, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.sure(dialled) || i.dials.count.Load() != dialled {
		return identified{}, false
	}
	i.heard = max(i.heard, received)
	return i.at(sent), true
}

// mustAsk reports whether the next call has to ask the server for its identity.
func (i *identity) mustAsk(dialled uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.sure(dialled)
}

// sure demands at least one dial seen: the client may be a copy of another one
// (redis.Client.WithTimeout), whose dials go by without our hook.
func (i *identity) sure(dialled uint64) bool {
	return i.dials != nil && dialled > 0 && !i.dials.varied.Load() && i.settled && i.dialled == dialled
}

// learn takes the identity that a call brought back, which was sent and received
// at these local instants after so many dials.
func (i *identity) learn(s server, dialled uint64, sent, received time.Duration) identified {
	i.mu.Lock()
	defer i.mu.Unlock()
	same := i.known && !i.shared && s.runID == i.server.runID
	switch {
	case same:
		// The first estimate stands: the server's clock may have been set since.
	case i.known && !i.shared && s.uptime > received-i.heard:
		// It ran already while the other was heard, so it did not take over the
		// other's data by a restart: it was a replica, promoted nobody knows when.
		i.lost = received
	default:
		i.lost = received - max(0, s.uptime-uptimeSlack)
	}
	if !i.shared {
		i.lost = i.life.since(s.runID, i.lost, received)
	}
	// A changed server must be named twice: an answer of the old one may have been
	// overtaken by the new one's.
	i.settled = same || !i.known
	i.known, i.server, i.dialled, i.heard = true, s, max(i.dialled, dialled), received
	return i.at(sent)
}

// life is what a node's identities agree on: since when the process that was seen
// last cannot have lost a grant. Estimates of that differ by a round trip or so,
// and votes must not.
type life struct {
	mu      sync.Mutex
	runID   string
	lost    time.Duration
	demoted bool
}

// since gives the first estimate for the process, unless another one was seen
// since then, or it was a replica: that has its master's data, and is a master again
// since nobody knows when.
func (l *life) since(runID string, estimate, now time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.demoted:
		l.runID, l.lost, l.demoted = runID, now, false
	case l.runID == "" || runID != l.runID:
		l.runID, l.lost = runID, estimate
	}
	return l.lost
}

// demote notes that the process was seen to be a replica.
func (l *life) demote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.demoted = true
}

// doubt has the next call ask the server for its identity.
func (i *identity) doubt() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.settled = false
}

// onStream gives what is known of the server behind a stream's connection, of
// which a call was sent and answered at these local instants. The connection
// ends with the server's process, so it need not be asked again.
func (i *identity) onStream(sent, received time.Duration) identified {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.heard = max(i.heard, received)
	return i.at(sent)
}

// at tells of the server at a local instant. An age of zero would mean that it
// never loses a grant.
func (i *identity) at(instant time.Duration) identified {
	if i.server.uptime < 0 {
		return identified{incarnation: i.server.runID}
	}
	return identified{incarnation: i.server.runID, age: max(1, instant-i.lost)}
}

// dials is a go-redis hook that counts the connections a client makes.
type dials struct {
	count  atomic.Uint64
	varied atomic.Bool // they went to several addresses, so to several servers

	mu   sync.Mutex
	addr string
}

var _ redis.Hook = (*dials)(nil)

// DialHook counts a connection before anybody can use it.
func (d *dials) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err == nil {
			d.add(conn)
		}
		return conn, err
	}
}

func (d *dials) add(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	addr := ""
	if remote := conn.RemoteAddr(); remote != nil {
		addr = remote.String()
	}
	if d.count.Load() > 0 && addr != d.addr {
		d.varied.Store(true)
	}
	d.addr = addr
	d.count.Add(1)
}

// ProcessHook leaves commands alone.
func (d *dials) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook leaves pipelines alone.
func (d *dials) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
