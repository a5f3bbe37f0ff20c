package sim

import (
	"math/bits"
	"slices"

	"github.com/quorumlock/redlock/internal/protocol"
)

// everyNode is every list of nodes that begins with the first.
var everyNode = func() (nodes [protocol.MaxNodes]int) {
	for i := range nodes {
		nodes[i] = i
	}
	return nodes
}()

// snapshot is what a machine is copied to: its clocks' readings, and the lease
// that its program holds, if it does.
type snapshot struct {
	wall, mono, boot int64
	lease            *attempt
	cfg              *protocol.Config
	members          []int
	work             Work
	leases           int
}

// clone takes a snapshot of a client's machine. The machine that will go on with
// it is shut down until then.
func (w *world) clone(f *Fault) {
	w.beyond(true, "a machine was cloned")
	c, d := &w.clients[f.Client], &w.clients[f.Of]
	w.kill(d)
	s := &snapshot{wall: c.wall.read(w.now), mono: c.mono.read(w.now), boot: c.boot.read(w.now),
		cfg: c.cfg, members: c.members, work: c.work, leases: c.leases}
	if a := c.current; a != nil && c.state == holding && !a.over && c.down == 0 {
		lease := *a
		machine := a.machine.Clone()
		lease.machine, lease.calls = &machine, slices.Clone(a.calls)
		s.lease = &lease
	}
	d.copied = s
}

// awake lets a machine go on from a snapshot. Its clocks show what they did
// then: nothing in it can tell that time has passed.
func (w *world) awake(d *client) {
	s := d.copied
	if d.down--; d.down > 0 || s == nil {
		return
	}
	d.copied, d.cfg, d.members, d.work, d.leases = nil, s.cfg, s.members, s.work, s.leases
	d.wall = clock{since: w.now, shown: s.wall, ppm: d.rate}
	d.mono = clock{since: w.now, shown: s.mono, ppm: d.rate}
	d.boot = clock{since: w.now, shown: s.boot, ppm: d.rate}
	if s.lease == nil {
		w.boot(d)
		return
	}
	d.guards = protocol.NewGuards(d.cfg)
	a := s.lease
	a.id, a.client, a.epoch, a.bar = uint32(len(w.attempts)+1), d, d.epoch, 0
	a.alarm, a.notes = never, slices.Clone(a.notes)
	w.attempts = append(w.attempts, a)
	d.active, d.current = []*attempt{a}, a
	w.armTimer(a)
	w.armCalls(a) // its connections are broken
	w.become(d, holding)
	w.noteTaken(a)
	w.checkTaken(a)
	w.user(d, evCheck, 0)
	w.user(d, evUnlock, d.work.Hold)
}

// move starts a client again, with another list of nodes.
func (w *world) move(c *client, nodes uint64) {
	w.kill(c)
	c.down--
	w.lists = append(w.lists, list{c.nodes(), w.now + Time(w.cfg.MaxTTL)})
	w.join(c, nodes)
	for i := range w.clients {
		w.beyond(!meet(w.clients[i].nodes(), nodes), "clients have lists of nodes whose majorities need not meet")
	}
	for _, l := range w.lists {
		w.beyond(l.until > w.now && !meet(l.nodes, nodes), "clients have lists of nodes whose majorities need not meet")
	}
	w.boot(c)
}

// list is one that a client had, and until when leases may stand that were won
// with it.
type list struct {
	nodes uint64
	until Time
}

// meet says that any majority of one set shares a node with any of the other.
func meet(a, b uint64) bool {
	return protocol.Majority(bits.OnesCount64(a))+protocol.Majority(bits.OnesCount64(b)) > bits.OnesCount64(a|b)
}

// nodes is the client's list as a set.
func (c *client) nodes() (nodes uint64) {
	for _, i := range c.members {
		nodes |= 1 << i
	}
	return nodes
}

// join has a client ask just these nodes.
func (w *world) join(c *client, nodes uint64) {
	cfg := w.proto
	cfg.Nodes = bits.OnesCount64(nodes)
	cfg.Quorum = protocol.Majority(cfg.Nodes)
	c.cfg, c.members = &cfg, nil
	for ; nodes != 0; nodes &= nodes - 1 {
		c.members = append(c.members, bits.TrailingZeros64(nodes))
	}
}

// majority is how many nodes outvote any other set, to the client of an attempt.
func (a *attempt) majority() int { return protocol.Majority(len(a.client.members)) }
