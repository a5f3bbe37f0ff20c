package sim

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Invariant is a property that a run must have. docs/safety.md explains each.
type Invariant uint8

// The invariants.
const (
	Exclusion   Invariant = iota + 1 // I1: no two leases are valid at the same time
	Tokens                           // I2: tokens differ, and grow in the order of time
	Fencing                          // I3: the fenced resource takes no stale write
	Backing                          // I4: a majority keeps its grants for as long as the holder relies on them
	Votes                            // I5: a majority of different servers granted
	Quarantine                       // I6: no vote counts of a node that forgot a grant which could still stand
	Leftovers                        // I7: nothing stays granted that nobody uses or gives back
	Liveness                         // I8: after all faults ended, everyone gets the lock
	Manners                          // I9: the machine's outputs make sense
	Determinism                      // I10: equal runs are equal
)

var invariants = [...]string{
	Exclusion: "exclusion", Tokens: "tokens", Fencing: "fencing", Backing: "backing", Votes: "votes",
	Quarantine: "quarantine", Leftovers: "leftovers", Liveness: "liveness", Manners: "manners", Determinism: "determinism",
}

// String is the invariant's number and name, such as "I1 exclusion".
func (i Invariant) String() string { return fmt.Sprintf("I%d %s", i, invariants[i]) }

// Violation is one breach of an invariant.
type Violation struct {
	Invariant Invariant
	At        Time
	Text      string
	Beyond    string // the assumption that had been left by then, if any
	note      int32
}

// judge sees the world from outside, and shares no arithmetic with the
// protocol: it reads true time, the nodes' memories and what the machine told
// its driver.
type judge struct {
	holding    []*attempt
	returned   uint64   // the largest token of a lease that a user got
	tokens     []uint64 // all, in order of size
	violations []Violation
	broken     [Determinism + 1]bool
	beyond     string
	overlaps   int
	overlapped time.Duration // the longest
	stop       bool
}

// excusable says that an invariant holds only within the assumptions. Tokens and
// fencing hold beyond them.
func (i Invariant) excusable() bool {
	return i == Exclusion || i == Backing || i == Quarantine
}

func (w *world) violate(i Invariant, first, second *attempt, format string, args ...any) {
	j := &w.judge
	if i == Exclusion {
		j.overlaps++
	}
	if j.broken[i] {
		return
	}
	j.broken[i] = true
	v := Violation{Invariant: i, At: w.now, Text: fmt.Sprintf(format, args...)}
	if i.excusable() {
		v.Beyond = j.beyond
	}
	v.note = w.noteViolation(&v, first, second)
	j.violations = append(j.violations, v)
	j.stop = j.stop || v.Beyond == "" && w.cfg.StopEarly
}

// checkWon judges a lease as the machine says that it is won.
func (w *world) checkWon(a *attempt) {
	if a.over {
		w.violate(Manners, a, nil, "%s won after it was over", w.label(a))
	}
	if n := bits.OnesCount64(a.servers); n < a.majority() {
		w.violate(Votes, a, nil, "%s won with the grants of %d different servers of %d", w.label(a), n, len(a.client.members))
	}
	w.checkToken(a)
	w.checkStored(a)
}

// checkToken demands that tokens differ, and grow.
func (w *world) checkToken(a *attempt) {
	j := &w.judge
	if a.token <= a.floor {
		w.violate(Tokens, a, w.tokenHolder(a.floor, a), "%s got token %s, but %s had been returned before it began", w.label(a), brief(a.token), brief(a.floor))
	}
	i, found := slices.BinarySearch(j.tokens, a.token)
	if found {
		w.violate(Tokens, a, w.tokenHolder(a.token, a), "%s got token %s, which another has got before", w.label(a), brief(a.token))
	}
	j.tokens = slices.Insert(j.tokens, i, a.token)
}

func (w *world) tokenHolder(token uint64, but *attempt) *attempt {
	for _, a := range w.attempts {
		if a != but && a.won && a.token == token {
			return a
		}
	}
	return nil
}

// checkStored demands that a majority of nodes has the token, or lost it.
func (w *world) checkStored(a *attempt) {
	stored := 0
	for _, i := range a.client.members {
		if n := &w.nodes[i]; n.server == i && (n.counter >= a.token || n.lostAt >= a.started) {
			stored++
		}
	}
	if stored < a.majority() {
		w.violate(Quarantine, a, nil, "%s won token %s, which only %d of %d nodes have stored", w.label(a), brief(a.token), stored, len(a.client.members))
	}
}

// checkTaken judges a lease as its user gets it.
func (w *world) checkTaken(a *attempt) {
	j := &w.judge
	j.returned = max(j.returned, a.token)
	a.handed, a.relied = w.now, w.trueTime(a.client, a.until)
	now := w.local(a.client)
	if now >= a.until {
		w.violate(Exclusion, a, nil, "%s was handed its lease %s after its validity had ended", w.label(a), shortTime(Time(now.Sub(a.until))))
		return
	}
	w.checkAlone(a)
	w.checkBacked(a)
	j.holding = append(j.holding, a)
}

// checkAlone compares a lease with all others that their holders rely on. A
// holder that is paused relies on its lease until its own clock says otherwise.
func (w *world) checkAlone(a *attempt) {
	for _, b := range w.judge.holding {
		if b == a || b.over || w.local(b.client) >= b.until {
			continue
		}
		until := min(w.trueTime(a.client, a.until), w.trueTime(b.client, b.until))
		w.judge.overlapped = max(w.judge.overlapped, time.Duration(until-w.now))
		w.violate(Exclusion, b, a, "%s has the lock from %s on, while %s relies on it until %s", w.label(a), shortTime(w.now), w.label(b),
			shortTime(until))
	}
}

// checkBacked demands that a majority of nodes keeps its grants, by their own
// clocks, for as long as the holder relies on them by its clock. A node that
// forgot its grant counts while the restart or clock guard keeps it from voting.
func (w *world) checkBacked(a *attempt) {
	until := w.trueTime(a.client, a.until)
	if until >= never || w.observed {
		return
	}
	backing := 0
	for _, i := range a.client.members {
		n := &w.nodes[i]
		backs := n.owner == a.owner && n.expires(w.now) >= until || n.down > 0 && n.lostAt >= a.started || n.excused >= until
		if backs && n.server == i {
			backing++
		}
	}
	if backing < a.majority() {
		w.violate(Backing, a, nil, "%s relies on its lease for another %v, but only %d of %d nodes keep it for so long",
			w.label(a), shortTime(until-w.now), backing, len(a.client.members))
	}
}

// renewed judges a validity that changed.
func (w *world) renewed(a *attempt, before protocol.Instant) {
	w.stats.Renewals++
	a.renewing = false
	w.noteRenewed(a)
	if !a.taken {
		return
	}
	a.relied = w.trueTime(a.client, a.until)
	if now := w.local(a.client); before < now {
		w.violate(Exclusion, a, nil, "%s: a lease that had ended %s before came back", w.label(a), shortTime(Time(now.Sub(before))))
	}
	w.checkAlone(a)
	w.checkBacked(a)
}

// endHold ends what a holder relies on.
func (w *world) endHold(a *attempt) {
	j := &w.judge
	for i, b := range j.holding {
		if a == b {
			j.holding = append(j.holding[:i], j.holding[i+1:]...)
			break
		}
	}
	w.noteEnd(a)
}

// checkHandled judges what a node just did.
func (w *world) checkHandled(n *node, before *record, m *message) {
	a := w.attempts[m.attempt-1].last()
	if n.owner == before.owner && n.until < before.until && a.taken && !a.over {
		w.checkBacked(a)
	}
	if m.req.Op == protocol.Release || !m.reply.granted {
		return
	}
	held := before.held(n.expiryClock().read(w.now)) && before.owner == m.owner
	if !held && n.owner == m.owner && n.fence <= before.counter {
		w.violate(Tokens, a, nil, "%s granted fence %s, but its counter was %s", name("n", n.id), brief(n.fence), brief(before.counter))
	}
	if before.owner != n.owner && m.copied {
		a.strays |= 1 << n.id
	}
	if a.finished && a.epoch == a.client.epoch && n.released.has(a.owner) && n.lostAt < a.started {
		w.violate(Leftovers, a, nil, "%s granted to %s, which had released and is gone", name("n", n.id), w.label(a))
	}
}

// checkCounted judges a grant that the driver lets count.
func (w *world) checkCounted(a *attempt, called *call, m *message) {
	a.heard(m.note)
	if called.op != protocol.Acquire {
		return
	}
	n := w.serverOf(int(m.node))
	a.servers |= 1 << n.id
	if m.handled > n.lostAt && m.handled < n.lostUntil {
		w.violate(Quarantine, a, nil, "%s: the grant of %s counted, which forgot another's that its holder may rely on for another %s",
			w.label(a), name("n", n.id), shortTime(n.lostUntil-m.handled))
	}
}

// checkFinished demands that an attempt which ends leaves no grant, unless it
// tried to give it back for as long as a grant can last. A duplicate of an acquire
// that comes after its refusal may leave one until its TTL ends, and so may a
// node that forgot the release.
func (w *world) checkFinished(a *attempt) {
	if !a.over {
		w.violate(Manners, a, nil, "%s finished, but is not over", w.label(a))
	}
	patience := w.cfg.TTL / 4 // the pauses double, and none begins that would end after the TTL
	if time.Duration(w.now-a.ended) >= patience {
		return
	}
	for i := range w.nodes {
		n := w.serverOf(i)
		local := n.expiryClock().read(w.now)
		if n.held(local) && n.owner == a.owner && n.down == 0 && n.lostAt < a.started && !w.cfg.Without.Has(FreshOwner) && !w.cfg.Without.Has(YieldOwner) && a.strays>>n.id&1 == 0 {
			w.violate(Leftovers, a, nil, "%s is done, but %s keeps its grant for another %s", w.label(a), name("n", i),
				shortTime(Time(n.until-local)))
		}
	}
}

// checkEnd judges what is left when nothing happens any more.
func (w *world) checkEnd() {
	if !w.closing || !w.queue.empty() || w.judge.stop {
		return
	}
	for _, a := range w.attempts {
		if !a.finished && a.epoch == a.client.epoch && a.client.down == 0 {
			w.violate(Leftovers, a, nil, "%s never finished", w.label(a))
		}
	}
}

// label names an attempt by its client.
func (w *world) label(a *attempt) string { return name("c", a.client.id) }
