package sim

import (
	"slices"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// trigger is a fault that waits for an event.
type trigger struct {
	fault int
	count int
}

// schedule plans the faults; those that wait for an event wait.
func (w *world) schedule() {
	for i := range w.cfg.Faults {
		f := &w.cfg.Faults[i]
		switch {
		case f.Verb == Lose || f.Verb == Repeat:
			w.marked = append(w.marked, i)
		case f.On != "":
			w.triggers = append(w.triggers, trigger{fault: i})
		default:
			w.push(evFault, 0, uint32(i), 0, Time(f.At))
		}
	}
}

// chosen says what faults have in store for one message of a link.
func (w *world) chosen(direction int, m *message, number int) (lost bool, again time.Duration) {
	for _, i := range w.marked {
		f := &w.cfg.Faults[i]
		if f.Number == number && f.Client == int(m.client) && f.Node == int(m.node) && f.Direction == direction {
			lost = lost || f.Verb == Lose
			if f.Verb == Repeat {
				again = f.By
			}
			w.noteFault(f)
		}
	}
	return lost, again
}

// signal tells the faults that wait for it that a client got somewhere.
func (w *world) signal(client int, event string) {
	if w.healed {
		return
	}
	for i := range w.triggers {
		t := &w.triggers[i]
		f := &w.cfg.Faults[t.fault]
		if f.On != event || f.OnClient != client && f.OnClient != all {
			continue
		}
		t.count++
		if t.count == f.OnCount {
			w.push(evFault, 0, uint32(t.fault), 0, w.now+Time(f.At))
		}
	}
}

// each calls do for every index that a fault names.
func each(index, n int, do func(i int)) {
	switch {
	case index >= 0:
		do(index)
	case index == all:
		for i := range n {
			do(i)
		}
	}
}

// strike lets a fault begin.
func (w *world) strike(i int) {
	f := &w.cfg.Faults[i]
	if w.healed {
		return
	}
	w.stats.Faults++
	w.cover(f)
	w.noteFault(f)
	w.apply(f)
	if lasting(f) {
		w.active[i]++
		if f.For > 0 {
			w.push(evMend, 0, uint32(i), 0, w.now+Time(f.For))
		}
	}
}

// lasting says that a fault goes on until it is mended.
func lasting(f *Fault) bool {
	switch f.Verb {
	case Pause, Suspend, Crash, Drift, Cut, Hold, Slow, Clone, Shake, Full:
		return true
	}
	return f.Verb.realOnly()
}

func (w *world) apply(f *Fault) {
	switch {
	case f.Verb == Clone:
		w.clone(f)
	case f.Store:
		w.stores[f.Client].slow += f.By
	case f.Client != none && f.Node != none:
		w.eachLink(f, func(index int) {
			l := &w.links[index]
			switch f.Verb {
			case Cut:
				l.cut++
			case Hold:
				l.held++
			case Slow:
				l.slow += f.By
			case Shake:
				l.shaken += f.By
			case Reset:
				w.reset(index)
			case Expire:
				w.expire(index)
			}
		})
	case f.Client != none:
		each(f.Client, w.cfg.Clients, func(i int) { w.strikeClient(f, &w.clients[i]) })
	default:
		each(f.Node, w.cfg.Nodes, func(i int) { w.strikeNode(f, w.serverOf(i)) })
	}
}

func (w *world) eachLink(f *Fault, do func(index int)) {
	each(f.Client, w.cfg.Clients, func(c int) {
		each(f.Node, w.cfg.Nodes, func(n int) {
			if f.Direction != toClient {
				do(w.linkIndex(toNode, c, n))
			}
			if f.Direction != toNode {
				do(w.linkIndex(toClient, c, n))
			}
		})
	})
}

func (w *world) strikeClient(f *Fault, c *client) {
	switch f.Verb {
	case Pause:
		c.paused++
	case Suspend:
		c.suspended++
		c.mono.stop(w.now, true)
	case Crash:
		w.kill(c)
	case Jump:
		c.wall.step(w.now, int64(f.By))
		w.rearm(c)
	case Drift:
		w.beyond(f.PPM > w.cfg.DriftPPM/2 || f.PPM < -w.cfg.DriftPPM/2, "a clock drifts by more than the allowance")
		w.setRate(c, c.rate+f.PPM)
	case Move:
		w.move(c, f.Nodes)
	case Nudge:
		w.nudge(c)
	case Aim:
		if at := w.aim(f); at < never {
			w.push(evNudge, c.id, 0, 0, max(w.now, at))
		}
	}
}

// reset breaks the connections between a client and a node: the client hears at
// once that its requests will have no answer, though they may be handled. A session
// lock goes with its connection.
func (w *world) reset(index int) {
	if index >= w.linkIndex(toClient, 0, 0) {
		return // once for both directions
	}
	c, node := &w.clients[index/w.cfg.Nodes], index%w.cfg.Nodes
	for _, a := range c.active {
		for _, called := range a.calls {
			if called.node == node {
				i, m := w.newMessage()
				*m = message{req: protocol.Request{ID: called.id, Op: called.op}, attempt: a.id, client: int16(c.id), node: int16(node)}
				w.push(evReset, c.id, i, 0, w.now+1)
			}
		}
	}
	if w.serverOf(node).kind == SessionLock {
		w.expire(index)
	}
}

// expire ends what lives with a client's sessions at a node.
func (w *world) expire(index int) {
	if index >= w.linkIndex(toClient, 0, 0) {
		return // once for both directions
	}
	n := w.serverOf(index % w.cfg.Nodes)
	if n.owner == 0 || n.kind != SessionLock && n.kind != EphemeralNode {
		return
	}
	if w.ownerName(n.owner) != name("c", index/w.cfg.Nodes) {
		return
	}
	w.beyond(n.held(n.expiryClock().read(w.now)), "a server ends a session, and a grant with it")
	before := n.record
	n.owner, n.until = 0, 0
	n.noteLoss(w.now, before)
	n.remember(w.now)
}

func (w *world) setRate(c *client, ppm int64) {
	for _, clock := range []*clock{&c.wall, &c.mono, &c.boot} {
		clock.setRate(w.now, ppm)
	}
	w.rearm(c)
}

// aim finds the moment for a request to leave so that it arrives just when
// another's lock ends.
func (w *world) aim(f *Fault) Time {
	early := Time(f.By) - Time(w.cfg.Latency)
	if f.Edge == "age" {
		n := w.serverOf(f.Of)
		return n.expiryClock().when(w.now, n.born+int64(w.proto.MaxTTL+w.proto.Margin(w.proto.MaxTTL))) + early
	}
	a := w.clients[f.Of].current
	if a == nil || !a.won {
		return never
	}
	if f.Edge == "validity" {
		return w.trueTime(a.client, a.until) + early
	}
	var ends []Time
	for i := range w.nodes {
		at := w.now
		if n := w.serverOf(i); n.held(n.expiryClock().read(w.now)) {
			at = n.expires(w.now)
		}
		ends = append(ends, at)
	}
	slices.Sort(ends)
	return ends[w.proto.Quorum-1] + early
}

// kill ends a client's process.
func (w *world) kill(c *client) {
	for _, a := range c.active {
		if a.over {
			continue
		}
		if a.taken {
			w.endHold(a)
		}
		a.over, a.ended = true, w.now
	}
	for _, e := range c.inbox {
		w.drop(e)
	}
	c.down++
	c.epoch++
	c.gen++
	c.inbox, c.active, c.current, c.state, c.line, c.shared, c.from = nil, nil, nil, thinking, nil, false, 0
}

func (w *world) strikeNode(f *Fault, n *node) {
	switch f.Verb {
	case Pause:
		n.frozen++
	case Suspend:
		n.suspended++
		n.mono.stop(w.now, true)
	case Crash:
		w.beyond((f.LosesAll || f.Losing > 0) && !kinds[n.kind].losesGrants, "a durable node loses data")
		n.down++
		n.forget(w.now, f.LosesAll, f.Losing)
	case Failover:
		w.beyond(f.Losing > 0 && !kinds[n.kind].losesGrants, "a durable node loses data")
		before := n.record
		n.recall(w.now - Time(f.Losing))
		n.noteLoss(w.now, before)
		n.remember(w.now)
		if !w.cfg.Without.Has(HonestFailover) {
			n.rebirth(w.now)
		}
		w.quarantine(n)
	case Full:
		n.full++
	case Evict, Flush:
		w.beyond(n.held(n.expiryClock().read(w.now)), "a node drops a grant and says nothing")
		before := n.record
		n.record = record{}
		n.noteLoss(w.now, before)
		n.remember(w.now)
	case Jump:
		w.jumpNode(n, f.By)
	case Drift:
		w.beyond(f.PPM > w.cfg.DriftPPM/2 || f.PPM < -w.cfg.DriftPPM/2, "a clock drifts by more than the allowance")
		n.wall.setRate(w.now, n.rate+f.PPM)
		n.mono.setRate(w.now, n.rate+f.PPM)
	}
}

func (w *world) jumpNode(n *node, by time.Duration) {
	if kinds[n.kind].byWallClock && by > 0 {
		n.leaptAt = w.now
		w.beyond(true, "a node's clock leaps forward")
	}
	n.wall.step(w.now, int64(by))
}

// quarantine notes for the checkers until when a node does not vote.
func (w *world) quarantine(n *node) {
	grace := w.cfg.MaxTTL + w.cfg.MaxTTL/16 + 10*time.Millisecond
	n.excused = w.now + Time(grace)
}

// mend lets a fault end.
func (w *world) mend(i int) {
	f := &w.cfg.Faults[i]
	if w.active[i] == 0 {
		return
	}
	w.active[i]--
	w.noteMend(f)
	switch {
	case f.Verb == Clone:
		w.awake(&w.clients[f.Of])
	case f.Store:
		w.stores[f.Client].slow -= f.By
	case f.Client != none && f.Node != none:
		w.eachLink(f, func(index int) { w.mendLink(f, index) })
	case f.Client != none:
		each(f.Client, w.cfg.Clients, func(i int) { w.mendClient(f, &w.clients[i]) })
	default:
		each(f.Node, w.cfg.Nodes, func(i int) { w.mendNode(f, w.serverOf(i)) })
	}
}

func (w *world) mendLink(f *Fault, index int) {
	l := &w.links[index]
	switch f.Verb {
	case Cut:
		l.cut--
	case Slow:
		l.slow -= f.By
	case Shake:
		l.shaken -= f.By
	case Hold:
		if l.held--; l.held == 0 {
			w.release(index)
		}
	}
}

func (w *world) mendClient(f *Fault, c *client) {
	switch f.Verb {
	case Pause:
		c.paused--
	case Suspend:
		if c.suspended--; c.suspended == 0 {
			c.mono.stop(w.now, false)
			w.rearm(c)
		}
	case Crash:
		if c.down--; c.down == 0 {
			w.boot(c)
		}
	case Drift:
		w.setRate(c, c.rate)
	}
	if c.paused+c.suspended+c.down == 0 {
		w.resume(c)
	}
}

// resume hands a client what came while it stood still. In which order its
// goroutines run is anybody's guess: that of arrival, or the other way round.
func (w *world) resume(c *client) {
	inbox := c.inbox
	c.inbox = nil
	if len(inbox) > 1 && w.choose.below(w.clientStream(c), 2) == 1 {
		slices.Reverse(inbox)
	}
	for _, e := range inbox {
		e.at = w.now
		w.queue.push(e)
	}
}

func (w *world) mendNode(f *Fault, n *node) {
	switch f.Verb {
	case Pause:
		n.frozen--
	case Full:
		n.full--
	case Suspend:
		if n.suspended--; n.suspended == 0 {
			n.mono.stop(w.now, false)
		}
	case Crash:
		if n.down--; n.down == 0 {
			n.rebirth(w.now)
			if kinds[n.kind].losesGrants {
				w.quarantine(n)
			}
		}
	case Drift:
		n.wall.setRate(w.now, n.rate)
		n.mono.setRate(w.now, n.rate)
	}
	if n.frozen+n.suspended == 0 {
		inbox := n.inbox
		n.inbox = nil
		for _, e := range inbox {
			e.at = w.now
			w.queue.push(e)
		}
	}
}

// heal ends all faults: from now on everyone must get the lock.
func (w *world) heal() {
	for i := range w.active {
		for w.active[i] > 0 {
			w.mend(i)
		}
	}
	w.healed, w.healedAt = true, w.now
	w.lateAt = w.now + Time(w.patienceOfAll())
	for i := range w.clients {
		c := &w.clients[i]
		if c.state == holding { // a long hold would only be waited out
			w.user(c, evUnlock, 0)
		}
	}
}

// beyond notes that something happened which the guarantees do not cover.
func (w *world) beyond(is bool, what string) {
	if is && w.judge.beyond == "" {
		w.judge.beyond = what
	}
}
