package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// world is one run.
type world struct {
	cfg    *Config
	proto  protocol.Config
	now    Time
	queue  queue
	choose chooser

	nodes    []node
	clients  []client
	links    []link // by direction, client and node
	stores   []link // from each client to the resource
	messages []*message
	blank    []message // not used yet
	free     []uint32
	attempts []*attempt
	places   []place   // by the number of the waiter, from 1
	fresh    []attempt // not used yet
	spare    []engine  // of attempts that are finished
	resource resource

	lists    []list // of nodes, that clients no longer use
	triggers []trigger
	marked   []int // faults that wait for a message
	active   []int // how often each fault is in force

	healed   bool
	healedAt Time
	lateAt   Time // by then everyone must have had the lock again
	closing  bool // nobody asks any more
	closedAt Time

	judge       judge
	stats       Stats
	hash        uint64
	outs        []protocol.Output // reused
	rec         *recording
	epoch       uint64 // when the world began, by a wall clock, in microseconds; tokens are told since then
	observed    bool   // it is a real one, seen from outside
	keepChoices bool
	kept        []Fault // losses and duplicates that were drawn
	coverage    *Coverage
}

// Instants begin far from zero, which the protocol takes for "never", and wall
// clocks show a date, since hints are taken from them.
const (
	bootOrigin = int64(1_000 * time.Hour)
	wallOrigin = int64(20_000 * 24 * time.Hour)
)

func newWorld(cfg *Config) *world {
	w := &world{cfg: cfg, proto: cfg.protocolConfig(), hash: cfg.Seed, epoch: uint64(wallOrigin / 1000)}
	links := 2 * cfg.Clients * cfg.Nodes
	w.choose = newChooser(cfg.Seed, links+cfg.Clients+1, cfg.Bytes)
	w.choose.tape = tapeOf(cfg)
	w.links = make([]link, links)
	w.stores = make([]link, cfg.Clients)
	w.active = make([]int, len(cfg.Faults))
	w.queue.near = make([]event, 0, mostNear)
	if cfg.Record {
		w.rec = newRecording()
	}
	w.makeNodes()
	w.schedule() // before the clients: a fault at a time is there at that time
	w.makeClients()
	if cfg.HealAt > 0 {
		w.push(evHeal, 0, 0, 0, Time(cfg.HealAt))
	}
	return w
}

// worldStream and clientStream are streams of choice; links come before them.
func (w *world) worldStream() int { return 2*w.cfg.Clients*w.cfg.Nodes + w.cfg.Clients }

func (w *world) clientStream(c *client) int { return 2*w.cfg.Clients*w.cfg.Nodes + c.id }

// around draws from [-spread, spread].
func (w *world) around(spread int64) int64 {
	return w.choose.below(w.worldStream(), 2*spread+1) - spread
}

func (w *world) makeNodes() {
	w.nodes = make([]node, w.cfg.Nodes)
	for i := range w.nodes {
		n := &w.nodes[i]
		n.id, n.server, n.kind = i, i, w.cfg.Kinds[i%len(w.cfg.Kinds)]
		if w.cfg.Alias && i == w.cfg.Nodes-1 {
			n.server = 0
		}
		n.rate = w.around(w.cfg.RatesPPM)
		n.wall = clock{shown: wallOrigin + w.around(int64(w.cfg.WallSpread)), ppm: n.rate}
		n.mono = clock{shown: bootOrigin + w.around(int64(time.Minute)), ppm: n.rate}
		n.lostAt, n.leaptAt = -1, -1
		n.rebirth(0)
		if !w.cfg.Young {
			n.born -= bootOrigin / 2
		}
	}
}

func (w *world) makeClients() {
	w.clients = make([]client, w.cfg.Clients)
	for i := range w.clients {
		c := &w.clients[i]
		c.id, c.cfg, c.members, c.work = i, &w.proto, everyNode[:w.cfg.Nodes], w.cfg.work(i)
		if w.cfg.Members != 0 {
			w.join(c, w.cfg.Members)
		}
		c.rate = w.around(w.cfg.RatesPPM)
		c.wall = clock{shown: wallOrigin + w.around(int64(w.cfg.WallSpread)), ppm: c.rate}
		if w.cfg.NoDate {
			c.wall.shown = 0
		}
		c.mono = clock{shown: bootOrigin + w.around(int64(time.Minute)), ppm: c.rate}
		c.boot = clock{shown: c.mono.shown + w.around(int64(time.Minute)), ppm: c.rate}
		w.boot(c)
	}
}

// boot starts a client's process.
func (w *world) boot(c *client) {
	c.guards = protocol.NewGuards(c.cfg)
	c.waiter = protocol.Waiter{Config: c.cfg}
	w.become(c, thinking)
	if c.work.Idle || w.closing {
		return
	}
	if c.work.Users <= 1 {
		w.user(c, evLock, c.work.Start)
		return
	}
	for range c.work.Users {
		w.push(evJoin, c.id, 0, c.epoch, w.now+Time(c.work.Start))
	}
}

func (w *world) push(kind eventKind, who int, a, b uint32, at Time) {
	if at < never {
		w.queue.push(newEvent(kind, who, a, b, at))
	}
}

// fold makes something part of the run's hash.
func (w *world) fold(x, y uint64) { w.hash = mix(mix(w.hash, x), y) }

// run lets the world run to its end.
func (w *world) run() {
	for !w.queue.empty() && w.stats.Events < w.cfg.MaxEvents && !w.judge.stop {
		e := w.queue.pop()
		if e.at > Time(w.cfg.Limit) {
			break
		}
		w.now = e.at
		if w.happen(e) {
			w.stats.Events++
			w.fold(uint64(e.at), uint64(e.kind())<<48^uint64(e.who())<<32^uint64(e.a()))
		}
		if w.healed {
			w.afterHealing()
		}
	}
	w.stats.Time = time.Duration(w.now)
	w.checkEnd()
}

// happen lets an event happen; it reports false if it was stale.
func (w *world) happen(e event) bool {
	switch e.kind() {
	case evRequest:
		w.arrive(e)
	case evArrive:
		w.arrived(e)
	case evFault:
		w.strike(int(e.a()))
	case evMend:
		w.mend(int(e.a()))
	case evHeal:
		w.heal()
	case evNudge:
		w.nudge(&w.clients[e.who()])
	default:
		return w.toClient(e)
	}
	return true
}

// toClient lets an event happen to a client, unless it stands still.
func (w *world) toClient(e event) bool {
	c := &w.clients[e.who()]
	if w.stale(c, e) {
		return false
	}
	if c.down > 0 {
		w.drop(e)
		return false
	}
	if c.paused+c.suspended > 0 {
		c.inbox = append(c.inbox, e)
		return false
	}
	switch e.kind() {
	case evReply:
		w.answer(e, false)
	case evReset:
		w.answer(e, true)
	case evAlarm:
		return w.ring(w.attempts[e.a()-1])
	case evWrite:
		w.write(c, w.attempts[e.a()-1])
	default:
		w.program(c, e)
	}
	return true
}

// stale says that an event has lost its meaning since it was planned.
func (w *world) stale(c *client, e event) bool {
	switch e.kind() {
	case evReply, evReset:
		return false
	case evAlarm:
		a := w.attempts[e.a()-1]
		return a.finished || a.epoch != c.epoch || e.b() != a.alarmGen
	case evWrite, evJoin:
		return e.b() != c.epoch
	}
	return e.a() != c.gen || e.b() != c.epoch
}

func (w *world) program(c *client, e event) {
	switch e.kind() {
	case evLock:
		w.lock(c)
	case evJoin:
		w.arriveInLine(c)
	case evRetry:
		w.begin(c)
		w.patience(c)
	case evHandover:
		w.handover(c)
	case evCheck:
		w.look(c)
	case evExtend:
		w.extend(c)
	case evUnlock:
		w.unlock(c)
	case evCancel:
		w.cancel(c)
	}
}

// drop forgets an event that reaches nobody.
func (w *world) drop(e event) {
	if e.kind() == evReply || e.kind() == evReset {
		w.free = append(w.free, e.a())
	}
}

// afterHealing ends the work once everyone had the lock again, and the world
// once nothing is left to do.
func (w *world) afterHealing() {
	if w.closing {
		return
	}
	for i := range w.clients {
		c := &w.clients[i]
		wants := !c.work.Idle && (c.work.Times == 0 || c.leases < c.work.Times)
		if wants && c.down == 0 && c.wins == 0 {
			if w.now > w.lateAt {
				w.violate(Liveness, nil, nil, "%s has not got the lock for %s after all faults ended", name("c", i), shortTime(w.now-w.healedAt))
			}
			return
		}
	}
	w.close()
}

// patienceOfAll bounds how long after the end of all faults the last of all
// clients may have to wait.
func (w *world) patienceOfAll() time.Duration {
	trip := 2*min(w.cfg.Latency, w.cfg.NodeTimeout/16) + w.cfg.TakesLong
	each := 64*max(w.cfg.RetryMax, 32*trip) + w.cfg.RetryMin
	var back time.Duration // a clock that was set back keeps grants for longer
	for i := range w.cfg.Faults {
		if f := &w.cfg.Faults[i]; f.Verb == Jump && f.By < 0 {
			back -= f.By
		}
	}
	return back + 4*(w.cfg.MaxTTL+w.cfg.MaxTTL/16) + 10*time.Second + time.Duration(w.cfg.Clients)*each
}

// close lets everybody stop.
func (w *world) close() {
	w.closing, w.closedAt = true, w.now
	for i := range w.clients {
		c := &w.clients[i]
		c.line = nil
		switch {
		case c.down+c.paused+c.suspended > 0:
		case c.state == acquiring || c.state == waiting:
			w.cancel(c)
		case c.state == holding:
			w.user(c, evUnlock, 0)
		case c.state == thinking:
			c.gen++
		}
	}
}
