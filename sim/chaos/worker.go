package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/nodeurl"
	"github.com/quorumlock/redlock/sim"
)

// worker is a client's process: a Locker, and the programs that use it.
type worker struct {
	spec   spec
	locker locking
	store  *storeClient

	out     sync.Mutex
	encoder *json.Encoder

	mu     sync.Mutex
	leases map[string]*lease // those in hand, by key and token
	counts map[string]int    // of signals
	gates  map[int]chan struct{}
	nudges chan struct{}

	last   atomic.Uint64 // number of an asking
	healed chan struct{}
	heal   sync.Once
}

// lease is one that a program has in hand.
type lease struct {
	id  uint64
	key string
	held
}

// locking and held are what programs use of a Locker and its leases; a client that
// is built to misbehave has others.
type locking interface {
	Lock(ctx context.Context, key string) (held, error)
	TryLock(ctx context.Context, key string) (held, error)
	Close(ctx context.Context) error
}

type held interface {
	Token() uint64
	Remaining() time.Duration
	Err() error
	Done() <-chan struct{}
	Extend(ctx context.Context, ttl time.Duration) error
	Unlock(ctx context.Context) error
}

// Worker is the life of a client's process: it reads what to be from in, and says
// what it does to out. It ends when it is told to, or when in does.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	w := &worker{
		encoder: json.NewEncoder(out), leases: map[string]*lease{}, counts: map[string]int{}, gates: map[int]chan struct{}{},
		nudges: make(chan struct{}, 1), healed: make(chan struct{}),
	}
	if err := lines.Decode(&w.spec); err != nil {
		return fmt.Errorf("chaos: a client is started by redlock chaos, which tells it what to do: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nodes, closeNodes, err := nodeurl.OpenAll(ctx, w.spec.URLs)
	if err != nil {
		return err
	}
	defer closeNodes() //nolint:errcheck // the process ends
	if err := w.open(nodes); err != nil {
		return err
	}
	if w.store, err = dialStore(w.spec.Store); err != nil {
		return err
	}
	defer w.store.close()
	if w.spec.Healed {
		w.heal.Do(func() { close(w.healed) })
	}
	start := make(chan struct{})
	go func() {
		w.obey(lines, start)
		cancel()
	}()
	warmUp(ctx, nodes)
	w.say(said{Ready: "client"})
	select {
	case <-start:
	case <-ctx.Done():
		return nil
	}
	w.work(ctx)
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if err := w.locker.Close(closing); !errors.Is(err, redlock.ErrNoQuorum) { // nodes are down on purpose
		return err
	}
	return nil
}

// warmUp has each node make its first connections, so that what a story times to
// the tenth of a second is not about that: one for calls that are made one by one,
// and one for those that are submitted. A node that is away is none of its business.
func warmUp(ctx context.Context, nodes []redlock.Node) {
	ctx, cancel := context.WithTimeout(ctx, warmUpTime)
	defer cancel()
	var warm sync.WaitGroup
	for _, n := range nodes {
		warm.Go(func() { _, _ = n.Inspect(ctx, "warm-up") })
		if s, ok := n.(redlock.Submitter); ok {
			warm.Add(1)
			s.Submit(&redlock.Call{Op: redlock.OpConfirm, Key: "warm-up", Owner: nobodysOwner, Fence: 1, Token: 1, Timeout: warmUpTime,
				Done: func(*redlock.Call) { warm.Done() }})
		}
	}
	warm.Wait()
}

const (
	warmUpTime   = 2 * time.Second
	nobodysOwner = "00000000000000000000000000000000"
)

// open makes the Locker, or what stands in for it.
func (w *worker) open(nodes []redlock.Node) error {
	without, err := sim.ParseDefence(w.spec.Without)
	if err != nil {
		return err
	}
	for i := range nodes {
		nodes[i] = blindfold(nodes[i], without)
	}
	if without.Has(sim.CountFromSending) || without.Has(sim.ReleaseByOwner) {
		w.locker = newCareless(nodes, &w.spec, without)
		return nil
	}
	opts := w.spec.options()
	opts.Observer = w
	locker, err := redlock.New(nodes, opts)
	w.locker = proper{locker}
	return err
}

// proper is a Locker.
type proper struct{ *redlock.Locker }

func (p proper) Lock(ctx context.Context, key string) (held, error) {
	l, err := p.Locker.Lock(ctx, key)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (p proper) TryLock(ctx context.Context, key string) (held, error) {
	l, err := p.Locker.TryLock(ctx, key)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// work runs the programs until they are done, or ctx ends.
func (w *worker) work(ctx context.Context) {
	if w.spec.Routines == 0 {
		w.plan(ctx)
		<-ctx.Done() // the process lives on, with what is left to do in the background
		return
	}
	var programs sync.WaitGroup
	for i := range w.spec.Routines {
		programs.Go(func() { w.mix(ctx, newChance(w.spec.Seed, 1000*w.spec.Client+100*w.spec.Life+i)) })
	}
	w.sampleUntil(ctx)
	programs.Wait()
}

// obey carries out commands until there are no more.
func (w *worker) obey(lines *json.Decoder, start chan<- struct{}) {
	for {
		var c command
		if lines.Decode(&c) != nil {
			return
		}
		switch {
		case c.Start:
			close(start)
		case c.Go > 0:
			w.mu.Lock()
			if gate := w.gates[c.Go]; gate != nil {
				close(gate)
				delete(w.gates, c.Go)
			}
			w.mu.Unlock()
		case c.Nudge:
			select {
			case w.nudges <- struct{}{}:
			default:
			}
		case c.Heal:
			w.heal.Do(func() { close(w.healed) })
		case c.Stop:
			return
		}
	}
}

func (w *worker) isHealed() bool {
	select {
	case <-w.healed:
		return true
	default:
		return false
	}
}

// say prints a line. Deeds carry their own stamp, taken when they were done.
func (w *worker) say(s said) {
	w.out.Lock()
	defer w.out.Unlock()
	_ = w.encoder.Encode(s) // nobody listens any more: the process is about to end
}

func (w *worker) did(d sim.Deed) {
	d.Client = w.spec.Client
	w.say(said{Deed: &d})
}

// signal tells of an event that a fault waits for, and waits until it has struck.
func (w *worker) signal(ctx context.Context, event string) {
	w.mu.Lock()
	w.counts[event]++
	name := fmt.Sprintf("%s#%d", event, w.counts[event])
	wanted := false
	for _, s := range w.spec.Signals {
		wanted = wanted || s == name
	}
	var gate chan struct{}
	number := len(w.counts)<<20 + w.counts[event]
	if wanted {
		gate = make(chan struct{})
		w.gates[number] = gate
	}
	w.mu.Unlock()
	if !wanted {
		return
	}
	w.say(said{Signal: name, Gate: number})
	select {
	case <-gate:
	case <-ctx.Done():
	}
}

// ask numbers an asking: its client, its life and a count.
func (w *worker) ask(key string) uint64 {
	id := uint64(w.spec.Client+1)<<48 | uint64(w.spec.Life)<<40 | w.last.Add(1)
	w.did(sim.Deed{At: stamp(), Kind: sim.Asks, Key: key, Lease: id})
	return id
}

// took notes a lease that a program was given. The stamp is taken before the look
// at what remains, so that the validity that is claimed is none too long.
func (w *worker) took(id uint64, key string, h held) *lease {
	l := &lease{id: id, key: key, held: h}
	w.mu.Lock()
	w.leases[name(key, h.Token())] = l
	w.mu.Unlock()
	now := stamp()
	remaining := h.Remaining()
	if remaining <= 0 {
		return l // lost by now; the program will hear of it
	}
	w.did(sim.Deed{At: now, Kind: sim.Takes, Key: key, Lease: id, Token: h.Token(), Until: now + remaining})
	return l
}

func name(key string, token uint64) string { return fmt.Sprintf("%s %d", key, token) }

// renewed notes that a lease lasts longer.
func (w *worker) renewed(l *lease) {
	now := stamp()
	if remaining := l.Remaining(); remaining > 0 {
		w.did(sim.Deed{At: now, Kind: sim.Renews, Key: l.key, Lease: l.id, Until: now + remaining})
	}
}

// unlock gives a lease back.
func (w *worker) unlock(ctx context.Context, l *lease) {
	w.forget(l)
	_ = l.Unlock(ctx) // what was not confirmed is free after a TTL; leftovers are looked for
}

// refused notes that there is no lease.
func (w *worker) refused(id uint64, key string, err error) {
	kind := sim.Declines
	if isOutage(err) {
		kind = sim.GivesUp
	}
	w.did(sim.Deed{At: stamp(), Kind: kind, Key: key, Lease: id, Text: err.Error()})
}

// write sends a write to the resource, with the lease's token.
func (w *worker) write(l *lease) {
	w.did(sim.Deed{At: stamp(), Kind: sim.Writes, Key: l.key, Lease: l.id, Token: l.Token()})
	w.store.write(w.spec.Client, l)
}

// Observe implements redlock.Observer.
func (w *worker) Observe(ctx context.Context, e redlock.Event) {
	switch e.Kind {
	case redlock.EventRenewed:
		w.mu.Lock()
		l := w.leases[name(e.Key, e.Token)]
		w.mu.Unlock()
		if l != nil {
			w.renewed(l)
		}
		w.signal(ctx, "renews")
	case redlock.EventRound:
		switch {
		case isOutage(e.Err):
			w.did(sim.Deed{At: stamp(), Kind: sim.Fails, Key: e.Key, Text: e.Err.Error()})
		case e.Err == nil:
			w.signal(ctx, "wins")
		}
	case redlock.EventWaiting:
		w.signal(ctx, "fails")
	}
}
