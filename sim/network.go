package sim

import (
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// link is one direction between a client and a node.
type link struct {
	last   Time // the latest arrival, for links that keep the order
	cut    int  // nested faults
	held   int
	slow   time.Duration
	shaken time.Duration // and up to so much more
	kept   []uint32      // messages that wait for the link to be released
	count  int           // messages so far
}

// message is a request on its way to a node, or the answer on its way back.
type message struct {
	req     protocol.Request
	owner   uint32
	attempt uint32
	client  int16
	node    int16
	epoch   uint32 // of the client's life that sent it
	waiter  uint32 // of an acquire that wants a place, or of a call
	isReply bool
	isCall  bool // that a key was set aside, and no answer to anything
	copied  bool // it arrives twice
	reply   reply
	handled Time  // by the node
	note    int32 // what the recording says of it
}

const (
	toNode = iota
	toClient
)

func (w *world) linkIndex(direction, client, node int) int {
	return (direction*w.cfg.Clients+client)*w.cfg.Nodes + node
}

// newMessage gives a place for a message. It stays where it is, from the request's
// sending to the answer's arrival.
func (w *world) newMessage() (uint32, *message) {
	if n := len(w.free); n > 0 {
		i := w.free[n-1]
		w.free = w.free[:n-1]
		return i, w.messages[i]
	}
	if len(w.blank) == 0 {
		w.blank = make([]message, 32)
	}
	w.messages = append(w.messages, &w.blank[0])
	w.blank = w.blank[1:]
	return uint32(len(w.messages) - 1), w.messages[len(w.messages)-1]
}

// transmit sends a message over its link, with all that a network does to it.
func (w *world) transmit(i uint32) {
	m := w.messages[i]
	direction := toNode
	if m.isReply {
		direction = toClient
	}
	index := w.linkIndex(direction, int(m.client), int(m.node))
	l := &w.links[index]
	l.count++
	lost, again := w.chosen(direction, m, l.count)
	if !w.healed {
		lost = lost || w.choose.chance(index, w.cfg.LossPPM)
		if w.choose.chance(index, w.cfg.DuplicatesPPM) {
			again = max(again, time.Duration(w.delay(index))+1)
		}
	}
	if w.coverage != nil && (lost || again > 0) {
		w.coverMessage(lost, again > 0, int(m.client))
	}
	if lost && w.keepChoices {
		w.kept = append(w.kept, Fault{Verb: Lose, Client: int(m.client), Node: int(m.node), Direction: direction, Number: l.count})
	}
	if again > 0 {
		if w.keepChoices {
			w.kept = append(w.kept, Fault{Verb: Repeat, Client: int(m.client), Node: int(m.node), Direction: direction, Number: l.count, By: again})
		}
		m.copied = true // either may be the first
		j, twin := w.newMessage()
		*twin = *m
		w.deliver(l, index, j, again)
	}
	switch {
	case lost || l.cut > 0:
		w.stats.Lost++
		w.broken(index, i)
	default:
		w.deliver(l, index, i, 0)
	}
}

// broken lets the client hear at once, sometimes, that its connection broke: the
// request may have been handled all the same.
func (w *world) broken(index int, i uint32) {
	if w.cfg.LossPPM > 0 && w.choose.below(index, 4) == 0 {
		w.push(evReset, int(w.messages[i].client), i, 0, w.now+Time(w.delay(index)))
		return
	}
	w.free = append(w.free, i)
}

func (w *world) delay(index int) int64 {
	if w.healed {
		return int64(min(w.cfg.Latency, w.cfg.NodeTimeout/16))
	}
	return int64(w.cfg.Latency) + w.choose.exponential(index, int64(w.cfg.Jitter))
}

func (w *world) deliver(l *link, index int, i uint32, later time.Duration) {
	if l.held > 0 {
		l.kept = append(l.kept, i)
		return
	}
	at := w.now + Time(w.delay(index)) + Time(l.slow) + Time(later) + Time(w.choose.below(index, int64(l.shaken)))
	if w.cfg.Ordered {
		at = max(at, l.last)
		l.last = at
	}
	m := w.messages[i]
	if m.isReply {
		w.push(evReply, int(m.client), i, 0, at)
	} else {
		w.push(evRequest, int(m.node), i, 0, at)
	}
}

// release lets go what a link has kept.
func (w *world) release(index int) {
	l := &w.links[index]
	kept := l.kept
	l.kept = nil
	for _, i := range kept {
		w.deliver(l, index, i, 0)
	}
}

// arrive lets a node handle a request and answer it.
func (w *world) arrive(e event) {
	n := w.serverOf(int(e.who()))
	if n.down > 0 {
		w.free = append(w.free, e.a())
		return
	}
	if n.frozen+n.suspended > 0 {
		n.inbox = append(n.inbox, e)
		return
	}
	m := w.messages[e.a()]
	if m.attempt == 0 {
		w.madeWay(n, m)
		w.free = append(w.free, e.a())
		return
	}
	before := n.record
	if n.full > 0 {
		m.isReply, m.reply = true, reply{failed: true}
		w.transmit(e.a())
		return
	}
	next := w.handle(n, m)
	m.isReply, m.handled = true, w.now
	if w.cfg.Without.Has(RestartGuard) && w.cfg.Without.Has(HonestFailover) {
		m.reply.age = 0
	}
	w.fold(uint64(m.owner)<<8|uint64(m.req.Op), m.reply.fence<<1|b2u(m.reply.granted))
	w.checkHandled(n, &before, m)
	w.noteHandled(n, &before, m)
	if n.aside != 0 && n.aside != before.aside {
		w.noteAside(n)
	}
	if next.waiter != 0 {
		w.call(n, int(m.node), next)
	}
	w.transmit(e.a())
}

// serverOf is the server behind a node: itself, but for an alias.
func (w *world) serverOf(n int) *node { return &w.nodes[w.nodes[n].server] }

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
