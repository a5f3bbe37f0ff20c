package sim

import (
	"fmt"

	"github.com/quorumlock/redlock/internal/protocol"
)

// recording keeps what happened, for reports. Worlds that nobody looks at have
// none, and then all of the methods below do nothing.
type recording struct {
	notes []Note
	bars  []bar
	marks []mark
	focus int32 // the first write that a resource without tokens lost data by
	best  int32 // the write with the largest token

	refusal string // of the first write that a fenced resource refused
}

// Note is one event in words, and the notes of the events that led to it.
type Note struct {
	At     Time    `json:"at"`
	Who    string  `json:"who"`
	Text   string  `json:"text"`
	Causes []int32 `json:"causes,omitempty"`
	Fault  bool    `json:"fault,omitempty"`
}

// bar is a stretch of time in a row of the picture.
type bar struct {
	row      string
	kind     string // asking, lease, grant, pause, down, quarantine
	label    string
	client   int
	from, to Time
}

// mark is a moment in a row of the picture.
type mark struct {
	row   string
	kind  string // fault, accepted, rejected, lost
	label string
	at    Time
}

func newRecording() *recording { return &recording{} }

// add keeps a note and gives its number; 0 is no note.
func (w *world) add(who, text string, causes ...int32) int32 {
	r := w.rec
	n := Note{At: w.now, Who: who, Text: text}
	for _, c := range causes {
		if c > 0 {
			n.Causes = append(n.Causes, c)
		}
	}
	r.notes = append(r.notes, n)
	return int32(len(r.notes))
}

func (r *recording) open(b bar) int {
	r.bars = append(r.bars, b)
	return len(r.bars)
}

// shut ends a bar, if it lasts longer.
func (r *recording) shut(i int, at Time) {
	if i > 0 && r.bars[i-1].to > at {
		r.bars[i-1].to = at
	}
}

func (w *world) noteAttempt(a *attempt, text string) {
	if w.rec == nil {
		return
	}
	c := a.client
	first := a.note == 0
	a.note = w.add(name("c", c.id), text, a.note, c.note)
	c.note = 0
	if first {
		a.bar = w.rec.open(bar{row: name("c", c.id), kind: "asking", client: c.id, from: w.now, to: never})
	}
	if a.over && !a.taken {
		w.rec.shut(a.bar, w.now)
	}
}

// noteHandled tells of requests that changed something at a node, and of
// refusals.
func (w *world) noteHandled(n *node, before *record, m *message) {
	if w.rec == nil {
		return
	}
	local := n.expiryClock().read(w.now)
	who, client := name("n", n.id), name("c", int(m.client))
	fresh := n.owner != 0 && (n.owner != before.owner || n.fence != before.fence)
	var text string
	switch {
	case fresh:
		text = fmt.Sprintf("grants to %s with fence %s", client, w.brief(n.fence))
		if before.owner != 0 && before.owner != m.owner && before.until <= local {
			text += fmt.Sprintf(", as %s's grant ended %s ago", w.ownerName(before.owner), shortTime(Time(local-before.until)))
		}
	case n.owner == 0 && before.owner != 0:
		text = "is free again: " + client + " released"
	case m.req.Op == protocol.Confirm && m.reply.granted:
		text = fmt.Sprintf("accepts %s's confirm of token %s", client, w.brief(m.req.Token))
	case !m.reply.granted:
		text = fmt.Sprintf("refuses %s's %s", client, m.req.Op)
	case m.req.Op == protocol.Extend:
		w.lengthenBar(n)
		return
	default:
		return
	}
	m.note = w.add(who, text, m.note, n.lastEvent)
	if m.reply.granted && (n.owner != before.owner || n.fence != before.fence || n.counter != before.counter) {
		if n.lastEvent = m.note; n.owner == 0 {
			n.lastEvent = 0 // of a key that is free nothing matters to the next owner
		}
		w.drawGrant(n, fresh, int(m.client))
	}
}

// noteAside tells that a key is set aside. What came before does not matter to the
// waiter.
func (w *world) noteAside(n *node) {
	if w.rec == nil {
		return
	}
	p := w.places[n.aside-1]
	who, client := name("n", n.id), name("c", int(p.client))
	n.lastEvent = w.add(who, "sets the key aside for "+client)
	w.rec.shut(n.bar, w.now)
	n.bar = w.rec.open(bar{row: who, kind: "aside", label: "for " + client, client: int(p.client), from: w.now, to: n.expires(w.now)})
}

func (w *world) lengthenBar(n *node) {
	if n.bar > 0 {
		w.rec.bars[n.bar-1].to = n.expires(w.now)
	}
}

func (w *world) drawGrant(n *node, fresh bool, client int) {
	switch {
	case fresh:
		w.rec.shut(n.bar, w.now)
		n.bar = w.rec.open(bar{row: name("n", n.id), kind: "grant", label: w.brief(n.fence), client: client, from: w.now, to: n.expires(w.now)})
	case n.owner == 0:
		w.rec.shut(n.bar, w.now)
	}
}

// ownerName is the client that an owner belongs to.
func (w *world) ownerName(owner uint32) string {
	if w.cfg.Without.Has(FreshOwner) {
		return name("c", int(owner)-1)
	}
	return w.label(w.attempts[owner-1])
}

// brief writes a fence or token. Those that come of a wall clock are long: they
// are told in microseconds since the world began.
func brief(token uint64) string { return briefSince(token, uint64(wallOrigin/1000)) }

func (w *world) brief(token uint64) string { return briefSince(token, w.epoch) }

func briefSince(token, origin uint64) string {
	if token >= origin {
		return fmt.Sprint(token - origin + 1)
	}
	return fmt.Sprint(token)
}

// heard remembers a grant that counted, as a cause of what comes of it.
func (a *attempt) heard(note int32) {
	if note > 0 {
		a.notes = append(a.notes, note)
	}
}

func (w *world) noteWon(a *attempt) {
	if w.rec == nil {
		return
	}
	causes := append([]int32{a.note, a.client.note}, a.notes...)
	a.client.note = 0
	verb := "wins"
	if a.passed {
		verb = "goes on for its next user"
	}
	a.note = w.add(w.label(a), verb+fmt.Sprintf(" with token %s, valid for %s", w.brief(a.token), shortTime(Time(a.until.Sub(w.local(a.client))))), causes...)
}

func (w *world) noteTaken(a *attempt) {
	if w.rec == nil {
		return
	}
	w.noteAttempt(a, "has the lease")
	w.rec.shut(a.bar, w.now)
	a.bar = w.rec.open(bar{row: w.label(a), kind: "lease", label: "#" + w.brief(a.token), client: a.client.id, from: w.now, to: w.trueTime(a.client, a.until)})
}

func (w *world) noteRenewed(a *attempt) {
	if w.rec == nil || !a.taken {
		return
	}
	w.rec.bars[a.bar-1].to = w.trueTime(a.client, a.until)
}

func (w *world) noteEnd(a *attempt) {
	if w.rec == nil || !a.taken {
		return
	}
	w.rec.shut(a.bar, w.now)
}

// noteWrite does not add to the attempt's own story: of its writes only those
// matter that are told of for themselves.
func (w *world) noteWrite(a *attempt) uint32 {
	if w.rec == nil {
		return 0
	}
	note := w.add(w.label(a), "writes to the resource", a.note, a.client.note)
	a.client.note = 0
	return uint32(note)
}

func (w *world) noteArrived(a *attempt, written uint32, accepted bool) {
	if w.rec == nil {
		return
	}
	text, kind := fmt.Sprintf("takes %s's write with token %s", w.label(a), w.brief(a.token)), "accepted"
	if !accepted {
		text = fmt.Sprintf("refuses %s's write: token %s is smaller than %s; the unfenced twin overwrites newer data",
			w.label(a), w.brief(a.token), w.brief(w.resource.largest))
		kind = "rejected"
	}
	id := w.add("store", text, int32(written))
	switch {
	case accepted:
		w.rec.best = id
	case w.rec.focus == 0:
		w.rec.focus = id
		w.rec.refusal = fmt.Sprintf(" (the first %s's, #%s < #%s)", w.label(a), w.brief(a.token), w.brief(w.resource.largest))
		w.rec.notes[id-1].Causes = append(w.rec.notes[id-1].Causes, w.rec.best)
	}
	w.rec.marks = append(w.rec.marks, mark{row: "store", kind: kind, label: w.brief(a.token), at: w.now})
}

func (w *world) noteFault(f *Fault) {
	if w.rec == nil {
		return
	}
	plain := *f
	plain.On, plain.At = "", 0
	text := plain.String()[len("at 0s "):]
	id := w.add("fault", text)
	w.rec.notes[id-1].Fault = true
	w.rec.marks = append(w.rec.marks, mark{row: "faults", kind: "fault", label: text, at: w.now})
	until := never
	if f.For > 0 {
		until = w.now + Time(f.For)
	}
	kind := map[Verb]string{Pause: "pause", Suspend: "pause", Crash: "down"}[f.Verb]
	if f.Client != none && f.Node == none {
		each(f.Client, w.cfg.Clients, func(i int) {
			w.clients[i].note = id
			if kind != "" {
				w.rec.open(bar{row: name("c", i), kind: kind, client: i, from: w.now, to: until})
			}
		})
	}
	if f.Node != none && f.Client == none {
		each(f.Node, w.cfg.Nodes, func(i int) { w.noteNodeFault(w.serverOf(i), f, kind, until, id) })
	}
}

func (w *world) noteNodeFault(n *node, f *Fault, kind string, until Time, id int32) {
	who := name("n", n.id)
	if n.lastEvent > 0 {
		w.rec.notes[id-1].Causes = append(w.rec.notes[id-1].Causes, n.lastEvent)
	}
	n.lastEvent = id
	if kind != "" {
		w.rec.open(bar{row: who, kind: kind, client: none, from: w.now, to: until})
	}
	switch f.Verb {
	case Crash:
		if kinds[n.kind].losesGrants || f.LosesAll || f.Losing > 0 {
			w.rec.shut(n.bar, w.now)
			if until < never {
				w.rec.open(bar{row: who, kind: "quarantine", client: none, from: until, to: until + Time(w.cfg.MaxTTL)})
			}
		}
	case Failover, Evict, Flush:
		w.rec.shut(n.bar, w.now)
	case Jump:
		if n.bar > 0 && kinds[n.kind].byWallClock {
			w.rec.shut(n.bar, max(w.now, n.expires(w.now)-Time(f.By)))
		}
	}
}

func (w *world) noteMend(f *Fault) {
	if w.rec == nil || w.healed {
		return
	}
	plain := *f
	plain.On, plain.At, plain.For = "", 0, 0
	id := w.add("fault", "over: "+plain.String()[len("at 0s "):])
	w.rec.notes[id-1].Fault = true
	if f.Client != none && f.Node == none {
		each(f.Client, w.cfg.Clients, func(i int) {
			if w.clients[i].note == 0 {
				w.clients[i].note = id
			}
		})
	}
}

func (w *world) noteViolation(v *Violation, first, second *attempt) int32 {
	if w.rec == nil {
		return 0
	}
	var causes []int32
	for _, a := range []*attempt{first, second} {
		if a != nil {
			causes = append(append(causes, a.note), a.notes...)
		}
	}
	if v.Invariant == Liveness { // the nodes' last doings show what is in the way
		for i := range w.nodes {
			causes = append(causes, w.nodes[i].lastEvent)
		}
	}
	w.rec.marks = append(w.rec.marks, mark{row: "faults", kind: "violation", label: v.Text, at: w.now})
	return w.add("judge", fmt.Sprintf("%s: %s", v.Invariant, v.Text), causes...)
}

// slice is the causal slice of a note: what led to it, in order of time. Faults
// always belong to it.
func (r *recording) slice(of int32) []Note {
	if of == 0 {
		return nil
	}
	wanted := make([]bool, len(r.notes)+1)
	wanted[of] = true
	var out []Note
	for i := of; i > 0; i-- {
		n := r.notes[i-1]
		if n.Fault && n.At <= r.notes[of-1].At {
			wanted[i] = true
		}
		if wanted[i] {
			for _, c := range n.Causes {
				wanted[c] = true
			}
		}
	}
	for i := int32(1); i <= of; i++ {
		if wanted[i] {
			out = append(out, r.notes[i-1])
		}
	}
	return out
}
