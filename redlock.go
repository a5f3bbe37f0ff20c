package redlock

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Locker takes locks on a group of nodes. It serves any number of keys and is
// safe for concurrent use. Make one with New and share it.
type Locker struct {
	group *group
	asked Options // as given, so that With can work out the defaults anew
	opts  Options
	cfg   protocol.Config
	own   LockOptions // those in force
	err   error       // of With
}

// group is what a Locker and those derived from it share.
type group struct {
	nodes    []Node
	names    []string // of the nodes
	clock    Clock
	random   io.Reader
	observer Observer

	submitters []Submitter // those of the nodes that are, nil in place of others
	calls      *sync.Pool  // of *calls
	rounds     *sync.Pool  // of *round
	machines   *sync.Pool  // of *protocol.Attempt
	waits      *sync.Pool  // of *waiting
	timers     timers
	lines      *lines

	guardMu sync.Mutex
	guards  protocol.Guards

	closing chan struct{} // closed by Close
	asking  chan struct{} // holds one for each attempt that is not decided

	mu       sync.Mutex
	closed   bool
	attempts map[*attempt]struct{} // those with anything left to do
	kept     int                   // leases that may be left on a majority, though closed
	others   int                   // calls of Inspect and the like under way
	idle     chan struct{}         // closed when closed and nothing of these is left
}

// New makes a Locker of the given nodes, which should fail independently of
// each other: of N nodes, N/2 rounded down of N-1 may be gone. So use an odd
// number; an even one is safe but stands no more failures than one node less.
//
// It refuses what cannot be safe, with an error that says what to change. It
// asks no node anything. The Locker does not own the nodes: close them yourself
// after Close.
func New(nodes []Node, opts Options) (*Locker, error) {
	names, err := checkNodes(nodes)
	if err != nil {
		return nil, err
	}
	asked := opts
	opts, cfg, err := opts.resolve(nodes)
	if err != nil {
		return nil, err
	}
	asked.MaxTTL = opts.MaxTTL // one for all: the guards go by it
	l := &Locker{asked: asked, opts: opts, cfg: cfg, own: opts.ofLocks()}
	submitters := submittersOf(nodes)
	l.group = &group{
		nodes:    append([]Node(nil), nodes...),
		names:    names,
		clock:    opts.Clock,
		random:   opts.Random,
		observer: opts.Observer,

		submitters: submitters,
		calls:      newCallsPool(len(nodes)),
		rounds:     newRoundsPool(),
		machines:   newMachinesPool(&l.cfg),
		waits:      &sync.Pool{New: func() any { return new(waiting) }},
		timers:     timers{clock: opts.Clock},
		lines:      newLines(),

		guards:   protocol.NewGuards(&l.cfg),
		closing:  make(chan struct{}),
		asking:   make(chan struct{}, opts.Attempts),
		attempts: make(map[*attempt]struct{}),
		idle:     make(chan struct{}),
	}
	return l, nil
}

// countWakers is how many of the nodes keep queues.
func countWakers(nodes []Node) int {
	wakers := 0
	for _, n := range nodes {
		if _, is := n.(Waker); is {
			wakers++
		}
	}
	return wakers
}

func submittersOf(nodes []Node) []Submitter {
	submitters := make([]Submitter, len(nodes))
	for i, n := range nodes {
		submitters[i], _ = n.(Submitter)
	}
	return submitters
}

// checkNodes gives the nodes' names.
func checkNodes(nodes []Node) ([]string, error) {
	if len(nodes) == 0 {
		return nil, errors.New("redlock: no nodes: give New at least one, better three or five")
	}
	if len(nodes) > protocol.MaxNodes {
		return nil, fmt.Errorf("redlock: %d nodes: use at most %d; more than seven only make a lock slower", len(nodes), protocol.MaxNodes)
	}
	names := make([]string, 0, len(nodes))
	for i, n := range nodes {
		if isNil(n) {
			return nil, fmt.Errorf("redlock: node %d is nil", i)
		}
		name := n.Name()
		if j := slices.Index(names, name); j >= 0 {
			return nil, fmt.Errorf("redlock: nodes %d and %d are both %q: a node given twice would vote twice; remove one, or give them names of their own", j, i, name)
		}
		names = append(names, name)
	}
	return names, nil
}

// With gives a Locker with other settings for the locks taken through it. It
// shares everything else with l, Close included. Settings that cannot be safe
// are refused when a lock is asked for.
func (l *Locker) With(o LockOptions) *Locker {
	if l.err != nil {
		return l
	}
	derived := &Locker{group: l.group}
	var err error
	if derived.asked, err = l.asked.with(o); err == nil {
		derived.opts, derived.cfg, err = derived.asked.resolve(l.group.nodes)
		derived.own = derived.opts.ofLocks()
	}
	derived.err = err
	return derived
}

// Lock takes the lock, waiting for as long as others hold it, until ctx ends.
// Callers of one Locker who want the same key get it in the order they came; see
// Options.LocalHandoffs.
//
// ctx bounds the waiting, not the lease: a lease ends by Unlock, or by loss.
//
// It returns an error wrapping ErrNoQuorum if too many nodes fail for longer
// than Options.OutageWait, and one wrapping ctx's error, beside the reason for
// the waiting, if ctx ends first: ErrNotAcquired if others had the key, or were
// before it in this process; ErrNoQuorum if nodes failed, or none had said so yet.
// Nothing stays locked then: what the nodes may have granted is given back in the
// background.
func (l *Locker) Lock(ctx context.Context, key string) (*Lease, error) {
	return l.lock(ctx, key, true)
}

// TryLock takes the lock if it is free: it asks every node once. It returns an
// error wrapping ErrNotAcquired if others hold the lock, and ErrNoQuorum if too
// many nodes failed to say. If ctx ends first, the error wraps ctx's as well, and
// ErrNotAcquired if any node had refused, ErrNoQuorum if none had.
func (l *Locker) TryLock(ctx context.Context, key string) (*Lease, error) {
	return l.lock(ctx, key, false)
}

// Do takes the lock as Lock does, calls fn, and releases it, also when fn
// panics. fn's context ends when ctx does, and when the lease ends, with a cause
// that wraps ErrLost, or ErrClosed if Close ended it; fn must stop its work then.
//
// Do returns fn's error, joined with one wrapping ErrLost or ErrClosed if the lease
// was lost, or ended by Close, before fn returned. That the release was not
// confirmed is no error: the work is done, and the nodes free the key after its TTL.
func (l *Locker) Do(ctx context.Context, key string, fn func(context.Context, *Lease) error) error {
	lease, err := l.Lock(ctx, key)
	if err != nil {
		return err
	}
	defer lease.Unlock(ctx) //nolint:errcheck // see above
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(lease.Context(), func() { cancel(context.Cause(lease.Context())) })
	defer stop()
	err = fn(inner, lease)
	ended := lease.Err()
	for _, early := range []error{ErrLost, ErrClosed} {
		if errors.Is(ended, early) && !errors.Is(err, early) {
			return errors.Join(err, ended)
		}
	}
	return err
}

// Close releases every lease, ends every waiting Lock with ErrClosed, and waits
// until nothing is left to do: no goroutine, timer or request of the Locker
// remains then. Nodes that fail are tried once more, after a quarter of a NodeTimeout
// at least, and those that do not answer in time are left alone, so it takes little
// more than two NodeTimeouts.
//
// It returns an error wrapping ErrNoQuorum if leases may be left on a majority:
// nobody can lock their keys before their TTL is over. If ctx ends first it
// returns ctx's error, and the rest goes on in the background.
func (l *Locker) Close(ctx context.Context) error {
	for _, a := range l.group.close() {
		a.close()
	}
	select {
	case <-l.group.idle:
		return l.group.leftBehind()
	case <-ctx.Done():
		return fmt.Errorf("redlock: close: %w", endedBy(ctx))
	}
}

// lock stands in line if it may wait, then asks the nodes until it wins or the
// protocol says to stop.
func (l *Locker) lock(ctx context.Context, key string, wait bool) (*Lease, error) {
	if err := l.check(ctx, key); err != nil {
		return nil, err
	}
	var called time.Duration
	if l.group.observer != nil { // who alone is told how long it took
		called = l.group.clock.Now()
	}
	if !wait {
		w := l.newWaiting(key)
		defer w.end()
		return l.ask(ctx, w, nil, called)
	}
	ln, lease, err := l.standInLine(ctx, key, called)
	if lease != nil || err != nil {
		return lease, err
	}
	w := l.newWaiting(key)
	defer w.end()
	w.waiter.TakeOver(ln.outage)
	ln.outage = 0
	now := l.group.now()
	if ln.from > now {
		err = w.pause(ctx, ln.from.Sub(now))
	}
	if err == nil {
		lease, err = l.ask(ctx, w, ln, called)
	}
	if err != nil {
		ln.outage = w.waiter.Outage()
		l.group.lines.leave(key, ln, 0)
	}
	return lease, err
}

// notAsked is the error of a caller who has asked no node yet.
func (l *Locker) notAsked(key string) error {
	return &QuorumError{Op: "lock", Key: key, Need: l.cfg.Quorum, Err: ErrNotAcquired}
}

// ask makes attempts until one wins, or just one if there is no line.
func (l *Locker) ask(ctx context.Context, w *waiting, ln *line, called time.Duration) (*Lease, error) {
	for {
		a, err := l.begin(ctx, w, ln)
		if err != nil {
			return nil, err
		}
		lease, err := a.await(ctx, called, ln)
		<-l.group.asking
		if err == nil || ln == nil || errors.Is(err, ErrClosed) {
			return lease, err
		}
		failure := a.failure()
		if ctx.Err() != nil {
			if w.last != nil && (failure.Reason == 0 || failure.Reason == protocol.Cancelled) {
				return nil, w.gaveUp(ctx) // what was cut short says less than what was decided
			}
			return nil, endedWaiting(ctx, err)
		}
		w.last = err
		if l.cfg.Queues > 0 && failure.Reason == protocol.Contended {
			l.group.lines.noteContended(w.key, l.group.now())
		}
		w.listen()
		pause, again := w.waiter.Next(l.group.now(), failure, w.random)
		if !again {
			return nil, err
		}
		if l.group.observer != nil {
			l.group.observe(ctx, Event{Kind: EventWaiting, Key: w.key, Latency: pause, Err: err})
		}
		if err := w.pause(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// endedWaiting adds to the reason for the waiting that ctx ended it, if it did. It
// leaves the reason itself as it is: observers have it, and may be reading it.
func endedWaiting(ctx context.Context, err error) error {
	var q *QuorumError
	if ctx.Err() == nil || !errors.As(err, &q) {
		return err
	}
	ended := *q
	ended.Cause = endedBy(ctx)
	return &ended
}

// check refuses what no attempt shall be made for.
func (l *Locker) check(ctx context.Context, key string) error {
	switch {
	case l.err != nil:
		return l.err
	case key == "":
		return errors.New("redlock: the key is empty")
	case len(key) > MaxKeyLength:
		return fmt.Errorf("redlock: the key has %d bytes: use at most %d", len(key), MaxKeyLength)
	case ctx.Err() != nil:
		return fmt.Errorf("redlock: %q: %w", key, endedBy(ctx))
	}
	return nil
}

// begin starts one attempt under a fresh owner, in its turn. The clock of the
// attempt starts when it does.
func (l *Locker) begin(ctx context.Context, w *waiting, ln *line) (*attempt, error) {
	g := l.group
	if _, err := io.ReadFull(g.random, w.drawn[:]); err != nil {
		return nil, fmt.Errorf("redlock: reading random bytes for an owner id: %w", err)
	}
	w.random = binary.LittleEndian.Uint64(w.drawn[16:])
	a := newAttempt(ctx, l, w.key, hex.EncodeToString(w.drawn[:16]))
	select {
	case g.asking <- struct{}{}:
	case <-g.closing:
		return nil, fmt.Errorf("redlock: %w", ErrClosed)
	case <-ctx.Done():
		return nil, w.gaveUp(ctx)
	}
	wall := g.clock.Wall().UnixMicro()
	start := protocol.Input{Kind: protocol.Start, TTL: l.opts.TTL, Hint: w.waiter.Hint(wall)}
	var err error
	if ln != nil {
		start.Queue, err = w.begin()
		if w.place.Waiter != "" {
			a.round.place, a.waited = w.place, true
		}
		if l.opts.LocalHandoffs > 0 && g.lines.isShared(ln) {
			start.Spare = w.waiter.Spare(wall, uint64(l.opts.LocalHandoffs))
		}
	}
	if err == nil && !g.add(a) {
		err = fmt.Errorf("redlock: %w", ErrClosed)
	}
	if err != nil {
		<-g.asking
		return nil, err
	}
	a.step(start)
	return a, nil
}

func (g *group) now() protocol.Instant { return protocol.Instant(g.clock.Now()) }

// answeredAt is when a call was answered.
func (g *group) answeredAt(call *Call) protocol.Instant {
	if call.Answered != 0 && g.clock == SystemClock() {
		return protocol.Instant(call.Answered)
	}
	return g.now()
}

func (g *group) observe(ctx context.Context, e Event) {
	if g.observer != nil {
		g.observer.Observe(context.WithoutCancel(ctx), e)
	}
}

// add registers an attempt, unless the group is closed.
func (g *group) add(a *attempt) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.attempts[a] = struct{}{}
	return true
}

// remove forgets an attempt that has finished.
func (g *group) remove(a *attempt) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.attempts, a)
	if g.closed && a.kept {
		g.kept++
	}
	g.settle()
}

// enter registers work that is no attempt, unless the group is closed.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.others++
	return true
}

// exit is called when such work is done.
func (g *group) exit() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.others--
	g.settle()
}

// settle tells Close once nothing is left.
func (g *group) settle() {
	if g.closed && len(g.attempts) == 0 && g.others == 0 {
		g.timers.stop()
		close(g.idle)
	}
}

// close lets no further attempt begin and returns those that are left, the
// first time it is called.
func (g *group) close() []*attempt {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	close(g.closing)
	g.settle()
	left := make([]*attempt, 0, len(g.attempts))
	for a := range g.attempts {
		left = append(left, a)
	}
	return left
}

// leftBehind is the error of a close that could not free every key.
func (g *group) leftBehind() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kept == 0 {
		return nil
	}
	return fmt.Errorf("redlock: close: %w: %d leases are not known to be released by a majority: their keys are free after the TTL at the latest",
		ErrNoQuorum, g.kept)
}

// isNil also finds a nil pointer in a Node.
func isNil(n Node) bool {
	if n == nil {
		return true
	}
	v := reflect.ValueOf(n)
	return v.Kind() == reflect.Pointer && v.IsNil()
}
