package sim

import (
	"slices"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// place is a waiter's place in the queue of a node that keeps one.
type place struct {
	waiter uint32 // one call of Lock, over all its attempts; zero for none
	since  int64  // when it began to wait, by its wall clock in microseconds
	hold   time.Duration
	client int16
}

// attend answers a request as handle does, and keeps the queue of the key. The
// queue hangs on the grant, or the setting aside, whose end its waiters wait for:
// if that expires, it is gone. listens says whether a waiter's process is still
// connected. next is the waiter that a release set the key aside for.
func (n *node) attend(now Time, owner uint32, req *protocol.Request, p place, without Defence, listens func(*node, place) bool) (answer reply, next place) {
	local := n.expiryClock().read(now)
	if n.aside != 0 && without.Has(ReservationEnds) {
		n.until = max(n.until, local+1)
	}
	if local >= n.until {
		n.queue, n.aside = n.queue[:0], 0
	}
	if n.aside != 0 && req.Op == protocol.Acquire && n.aside != p.waiter {
		answer = reply{counter: n.counter, queued: n.enqueue(p)}
		n.show(now, &answer)
		return answer, next
	}
	held := n.held(local)
	answer = n.handle(now, owner, req, without)
	switch {
	case req.Op == protocol.Acquire && !answer.granted && n.held(local):
		answer.queued = n.enqueue(p)
		if req.First && p.waiter == 0 { // plain commands raise the counter all the same
			n.counter = max(n.counter, min(req.Hint, n.horizon(now)))
		}
	case req.Op == protocol.Release && held && n.owner == 0:
		next = n.setAside(local, req.Wake, listens)
	}
	return answer, next
}

// makeWay is told by the process of a waiter that it waits no longer. What was set
// aside for it goes to the next.
func (n *node) makeWay(now Time, waiter uint32, listens func(*node, place) bool) place {
	n.queue = slices.DeleteFunc(n.queue, func(p place) bool { return p.waiter == waiter })
	local := n.expiryClock().read(now)
	if n.aside != waiter || local >= n.until {
		return place{}
	}
	n.aside, n.until = 0, local
	return n.setAside(local, true, listens)
}

// longestQueue bounds the places that a node keeps for a key.
const longestQueue = 100

// enqueue keeps a waiter's place: first come, first served, by the waiters' clocks.
func (n *node) enqueue(p place) bool {
	if p.waiter == 0 {
		return false
	}
	if p.hold == 0 {
		n.queue = slices.DeleteFunc(n.queue, func(q place) bool { return q.waiter == p.waiter })
		return false
	}
	behind := len(n.queue)
	for i, q := range n.queue {
		if q.waiter == p.waiter {
			return true
		}
		if q.since > p.since && i < behind {
			behind = i
		}
	}
	if len(n.queue) >= longestQueue {
		return false
	}
	n.queue = slices.Insert(n.queue, behind, p)
	return true
}

// setAside keeps a freed key for the oldest waiter, and gives it if it is to be
// called. Only then is it known whether its process is still there.
func (n *node) setAside(local int64, wake bool, listens func(*node, place) bool) place {
	for len(n.queue) > 0 {
		p := n.queue[0]
		n.queue = slices.Delete(n.queue, 0, 1)
		if !wake || listens(n, p) {
			n.aside, n.until = p.waiter, local+int64(p.hold)
			if !wake {
				return place{}
			}
			return p
		}
	}
	return place{}
}

// handle has a node answer a message, and gives the waiter that it is to call.
func (w *world) handle(n *node, m *message) (next place) {
	if !kinds[n.kind].queues || w.cfg.NoQueues {
		m.reply = n.handle(w.now, m.owner, &m.req, w.cfg.Without)
		return next
	}
	var p place
	if m.waiter != 0 {
		p = w.places[m.waiter-1]
		if !m.req.Queue {
			p.hold = 0
		}
	}
	m.reply, next = n.attend(w.now, m.owner, &m.req, p, w.cfg.Without, w.listens)
	return next
}

// listens says whether a node takes a waiter's process for connected. It hears of
// the end of one that dies, unless it cannot be reached.
func (w *world) listens(n *node, p place) bool {
	return w.clients[p.client].down == 0 || w.links[w.linkIndex(toNode, int(p.client), n.id)].cut > 0
}

// call tells a waiter that a key was set aside for it. The call is a message like
// others, and may get lost besides.
func (w *world) call(n *node, as int, p place) {
	w.stats.Calls++
	if w.choose.chance(w.linkIndex(toClient, int(p.client), as), w.cfg.DeafPPM) {
		w.stats.Lost++
		return
	}
	i, m := w.newMessage()
	*m = message{client: p.client, node: int16(as), waiter: p.waiter, isReply: true, isCall: true, note: n.lastEvent}
	w.transmit(i)
}

// called is a node's call, as it reaches a client.
func (w *world) called(m *message) {
	c := &w.clients[m.client]
	seat := slices.Index(c.members, int(m.node))
	if c.place.waiter != m.waiter || c.state != waiting && c.state != acquiring || seat < 0 {
		w.leave(c, int(m.node), m.waiter) // it waits no longer
		return
	}
	if c.note == 0 {
		c.note = m.note // what it does next comes of it
	}
	in := c.waiter.Woken(seat)
	w.signal(c.id, "called")
	if at := w.now + Time(in); c.state == waiting && at < c.retryAt {
		w.retry(c, in)
	}
}

// leave tells a node that a waiter waits no longer.
func (w *world) leave(c *client, node int, waiter uint32) {
	i, m := w.newMessage()
	*m = message{client: int16(c.id), node: int16(node), waiter: waiter}
	w.transmit(i)
}

// stopWaiting gives a client's places up.
func (w *world) stopWaiting(c *client) {
	for seat, i := range c.members {
		if c.placed&(1<<seat) != 0 {
			w.leave(c, i, c.place.waiter)
		}
	}
	c.place, c.placed = place{}, 0
}

// notePlace notes whether a node has a place for a client, as it answers. If the
// client waits no longer, the place is given up.
func (w *world) notePlace(c *client, seat int, m *message) {
	switch {
	case m.waiter == 0 || !m.req.Queue || !m.reply.queued:
	case m.waiter == c.place.waiter:
		c.placed |= 1 << seat
	default:
		w.leave(c, c.members[seat], m.waiter)
	}
}

// madeWay is a waiter's leaving, as it reaches the node.
func (w *world) madeWay(n *node, m *message) {
	if next := n.makeWay(w.now, m.waiter, w.listens); next.waiter != 0 {
		w.noteAside(n)
		w.call(n, int(m.node), next)
	}
}

// retry plans the next attempt, instead of one that was planned before.
func (w *world) retry(c *client, in time.Duration) {
	w.become(c, waiting)
	c.retryAt = w.now + Time(max(0, in))
	w.user(c, evRetry, in)
	w.patience(c)
}

// takePlace readies a caller to wait in the nodes' queues, if it is to, and gives
// the name that it waits by, if it has one.
func (w *world) takePlace(c *client) (waiter uint32, queue bool) {
	now := w.local(c)
	lately := c.contended != 0 && now.Sub(c.contended) <= time.Second
	if !c.waiter.Begin(lately) {
		c.placed = 0 // it asks for none, and gives up what it has
		return c.place.waiter, false
	}
	if c.place.waiter == 0 {
		c.place = place{waiter: uint32(len(w.places) + 1), since: max(1, c.wall.read(w.now)/1000), hold: c.cfg.Hold(), client: int16(c.id)}
		w.places = append(w.places, c.place)
		w.signal(c.id, "queues")
	}
	return c.place.waiter, true
}
