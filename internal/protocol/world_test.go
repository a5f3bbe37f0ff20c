package protocol

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// world is a small simulation in virtual time: clients that run real Attempts,
// Waiters and Guards against model nodes, over a network that loses, delays,
// reorders and repeats. One seed is one run, to the bit. After every event its
// checker looks at what all of them did, by the true time, which nobody in the
// world knows.
type world struct {
	plan
	rng     *rand.Rand
	now     trueTime
	queue   eventQueue
	events  int
	nodes   []*worldNode
	clients []*worldClient
	owners  []*worldAttempt // all attempts ever; the owner id is the index
	calm    bool            // faults are over
	checker checker
	trace   trace
	mutant  mutant
}

// trueTime is nanoseconds of the time that only the world knows.
type trueTime int64

// plan is what a seed draws before anything happens.
type plan struct {
	seed    uint64
	cfg     Config
	ttl     time.Duration
	clients int
	latency time.Duration // one way, typical
	length  time.Duration // of the time of faults

	// Chances, of 1000, each of one message or one action.
	lossy, repeats, slow, restarts, outages, cuts, pauses, setBacks int

	blind   bool  // hints do not carry the wall clock; only where nothing is forgotten
	patient bool  // drivers pass on answers that come after the deadline
	skew    int64 // of clients' wall clocks, in microseconds, either way
	drift   int64 // of any clock, in millionths, either way
}

func drawPlan(seed uint64, rng *rand.Rand) plan {
	pick := func(choices ...time.Duration) time.Duration { return choices[rng.IntN(len(choices))] }
	chance := func(most int) int { return rng.IntN(2) * rng.IntN(most+1) }
	nodes := []int{1, 2, 3, 3, 3, 4, 5, 5, 6, 7}[rng.IntN(10)]
	ttl := pick(60, 300, 1000, 4000) * time.Millisecond
	p := plan{
		seed: seed,
		cfg: Config{
			Nodes:       nodes,
			Quorum:      Majority(nodes),
			NodeTimeout: ttl / pick(4, 10, 20),
			MaxTTL:      ttl * pick(1, 3),
			MinValidity: ttl / pick(2, 8),
			DriftPPM:    10_000,
			NoRenew:     rng.IntN(3) == 0,
			RetryMin:    ttl / 500,
			RetryMax:    ttl / 8,
			OutageWait:  ttl,
		},
		ttl:      ttl,
		clients:  2 + rng.IntN(3),
		length:   ttl * 12,
		lossy:    chance(80),
		repeats:  chance(60),
		slow:     chance(80),
		restarts: chance(15),
		outages:  chance(15),
		cuts:     chance(15),
		pauses:   chance(20),
		setBacks: chance(5),
		patient:  rng.IntN(2) == 0,
		drift:    4_900,
	}
	p.latency = p.cfg.NodeTimeout / pick(4, 10, 50)
	if rng.IntN(4) == 0 {
		p.cfg.MaxHold = ttl * pick(1, 2, 4)
	}
	p.blind = p.restarts == 0 && rng.IntN(2) == 0
	p.skew = int64(p.cfg.MaxTTL / 4 / time.Microsecond)
	return p
}

// mutant breaks something on purpose, to see whether the checker notices. A nil
// field breaks nothing.
type mutant struct {
	plan     func(*plan)
	vote     func(at *worldAttempt, in *Input)        // before the machine sees it
	fake     func(at *worldAttempt, out Output) *Vote // answers a request in the node's place
	mute     func(at *worldAttempt, out Output) bool  // forgets to send a request
	until    func(at *worldAttempt, until Instant) Instant
	noGuards bool
	noTombs  bool // nodes forget who released
}

func newWorld(seed uint64, m mutant) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), mutant: m, trace: trace{hash: fnv.New64a()}}
	w.plan = drawPlan(seed, w.rng)
	if m.plan != nil {
		m.plan(&w.plan)
	}
	w.checker.world = w
	w.now = trueTime(time.Hour)
	for i := range w.cfg.Nodes {
		w.nodes = append(w.nodes, &worldNode{world: w, id: i, clock: w.drawClock(), tombs: map[int]bool{}, owner: nobody, notes: newNodeNotes()})
	}
	for i := range w.plan.clients {
		w.clients = append(w.clients, newWorldClient(w, i))
	}
	return w
}

// drawClock prefers the extremes.
func (w *world) drawClock() worldClock {
	ppm := []int64{-w.drift, 0, w.drift, w.rng.Int64N(2*w.drift+1) - w.drift}[w.rng.IntN(4)]
	return worldClock{ppm: ppm, offset: int64(w.rng.IntN(1_000_000_000))}
}

// run plays the world to its end and gives what broke, or "".
func (w *world) run() string {
	for _, c := range w.clients {
		w.at(c, w.now+trueTime(w.rng.Int64N(int64(w.ttl))), func() { c.begin() })
	}
	w.misfortunes()
	end := w.now + trueTime(w.length)
	w.drain(end)
	w.calmDown()
	w.drain(1 << 62)
	w.checker.everyAttemptFinished()
	w.aftermath()
	return w.checker.broken
}

// drain plays events up to a time.
func (w *world) drain(end trueTime) {
	for len(w.queue) > 0 && w.queue[0].at <= end && w.checker.broken == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		if c := e.client; c != nil && c.pausedUntil > w.now {
			w.push(event{at: c.pausedUntil, client: c, do: e.do})
			continue
		}
		e.do()
		if w.events++; w.events > 300_000 {
			w.checker.fail("endless", "%d events", w.events)
		}
	}
	if end < 1<<62 {
		w.now = max(w.now, end)
	}
}

// misfortunes go on until the world is calm.
func (w *world) misfortunes() {
	if w.calm {
		return
	}
	span := func() trueTime { return w.now + trueTime(w.rng.Int64N(int64(w.ttl)*3/2)) }
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	c := w.clients[w.rng.IntN(len(w.clients))]
	if w.chance(w.restarts) {
		n.restart()
	}
	if w.chance(w.outages) {
		n.downUntil = span()
	}
	if w.chance(w.cuts) {
		n.cut[c.id%len(n.cut)] = span()
	}
	if w.chance(w.pauses) {
		c.pausedUntil = span()
		w.trace.add(w, "client %d paused until %d", c.id, c.pausedUntil)
	}
	if w.chance(w.setBacks) {
		n.clock.offset -= w.rng.Int64N(int64(w.ttl))
	}
	w.at(nil, w.now+trueTime(w.ttl/50), w.misfortunes)
}

// calmDown ends the faults, and lets everybody give up what they have.
func (w *world) calmDown() {
	w.calm = true
	for _, n := range w.nodes {
		n.downUntil, n.cut = 0, [8]trueTime{}
	}
	for _, c := range w.clients {
		c.pausedUntil = 0
	}
	for _, at := range w.owners {
		if !at.finished {
			at.step(Input{Kind: Relinquish})
			if w.rng.IntN(2) == 0 {
				at.step(Input{Kind: Drain})
			}
		}
	}
}

// aftermath: once all has expired, every client can lock again, at once.
func (w *world) aftermath() {
	for _, c := range w.clients {
		if w.checker.broken != "" {
			return
		}
		w.now += trueTime(4 * w.cfg.MaxTTL)
		c.retire = true
		c.waiter = Waiter{Config: &w.cfg}
		c.begin()
		at := w.owners[len(w.owners)-1]
		w.drain(w.now + trueTime(2*w.cfg.NodeTimeout))
		w.checker.require(at.won, "liveness", "all is calm, but attempt %d did not win", at.owner)
		at.step(Input{Kind: Relinquish})
		w.drain(1 << 62)
		w.checker.everyAttemptFinished()
	}
}

func (w *world) chance(of1000 int) bool { return !w.calm && w.rng.IntN(1000) < of1000 }

// delay is how long a message takes: it may outlast a TTL.
func (w *world) delay() trueTime {
	d := w.latency/2 + time.Duration(w.rng.Int64N(int64(w.latency)))
	if w.chance(w.slow) {
		d += time.Duration(w.rng.Int64N(int64(w.ttl) * 3 / 2))
	}
	return trueTime(d)
}

// event happens to a client, unless client is nil, and not while it is paused.
type event struct {
	at     trueTime
	seq    int
	client *worldClient
	do     func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (w *world) at(c *worldClient, t trueTime, do func()) {
	w.push(event{at: max(t, w.now), client: c, do: do})
}

func (w *world) push(e event) {
	w.events++
	e.seq = w.events
	heap.Push(&w.queue, e)
}

// worldClock runs at a rate of its own.
type worldClock struct{ ppm, offset int64 }

func (c worldClock) read(t trueTime) Instant {
	return Instant(int64(t) + int64(t)/1_000_000*c.ppm + int64(t)%1_000_000*c.ppm/1_000_000 + c.offset)
}

// when is the first true time at which the clock shows at least i.
func (c worldClock) when(i Instant) trueTime {
	low, high := trueTime(0), trueTime(1<<60)
	for low < high {
		if mid := (low + high) / 2; c.read(mid) >= i {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// trace is what happened, as a hash, and as text if somebody wants to read it.
type trace struct {
	hash interface {
		Write(p []byte) (int, error)
		Sum64() uint64
	}
	keep bool
	text strings.Builder
}

func (t *trace) add(w *world, format string, args ...any) {
	line := fmt.Appendf(nil, "%12d  "+format+"\n", append([]any{int64(w.now) - int64(time.Hour)}, args...)...)
	t.hash.Write(line)
	if t.keep {
		t.text.Write(line)
	}
}
