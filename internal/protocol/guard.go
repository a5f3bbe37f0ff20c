package protocol

import "time"

// Facts is what an answer shows of its node, beside the vote.
type Facts struct {
	Incarnation string        // one life of the node's data; empty if not told
	Age         time.Duration // since it may last have lost grants; zero if it loses none
	Clock       int64         // its own clock in nanoseconds; zero if not told
	ClockBefore time.Duration // how long before this request the one was sent that read it
}

// Bar says why a node's answer is not counted.
type Bar uint8

// The reasons to bar a node. NotBarred is no reason.
const (
	NotBarred Bar = iota
	Young         // it may have lost grants that have not expired yet
	Leapt         // its clock leapt forward, so grants may have expired early
	Alias         // it is the same server as another node
)

// Guards watches what each node shows of itself and bars those that cannot be
// trusted for now. One serves all attempts of a Locker; it is not safe for
// concurrent use.
type Guards struct {
	cfg   *Config
	nodes []watched
}

type watched struct {
	incarnation string
	leaptUntil  Instant

	first, last reading
}

// reading bounds how far a node's clock was ahead of ours.
type reading struct {
	known bool
	ahead int64 // at most
	seen  Instant
}

// NewGuards makes the guards of a Locker's nodes.
func NewGuards(cfg *Config) Guards {
	return Guards{cfg: cfg, nodes: make([]watched, cfg.Nodes)}
}

// Admit takes what a node showed in answer to a request that was sent and
// answered at the given instants of our clock. It says whether the answer
// counts, and if not, why and for how much longer (zero if that is unknown). For
// an alias, other is the node that it is the same as.
func (g *Guards) Admit(node int, sent, answered Instant, f Facts) (bar Bar, wait time.Duration, other int) {
	w := &g.nodes[node]
	if f.Incarnation != "" {
		w.incarnation = f.Incarnation
	}
	for i := range g.nodes {
		if i != node && f.Incarnation != "" && g.nodes[i].incarnation == f.Incarnation && !g.cfg.without(AliasGuard) {
			w.incarnation = "" // the first to show it keeps it, and keeps voting
			return Alias, 0, i
		}
	}
	g.watch(w, sent.Add(-max(0, f.ClockBefore)), answered, f.Clock)
	grace := g.grace()
	if f.Age > 0 && f.Age < grace && !g.cfg.without(RestartGuard) {
		return Young, grace - f.Age, node
	}
	if answered < w.leaptUntil && !g.cfg.without(ClockGuard) {
		return Leapt, w.leaptUntil.Sub(answered), node
	}
	return NotBarred, 0, node
}

// watch compares the node's clock with its own past. A leap forward ends grants
// early; one backward makes them last, which is harmless, but the way back is a
// leap forward again. The round trip bounds what can be known: at the instant of
// the answer the node's clock was no further ahead of ours than it showed less
// the time of sending, and no less than it showed less the time of the answer.
//
// What drift and grain explain is no leap: validity allows for that much. The
// last reading shows a leap that a long time since the first would explain, and
// the first a clock that creeps ahead in small leaps. Readings from before every
// grant that can still stand are forgotten.
func (g *Guards) watch(w *watched, sent, answered Instant, clock int64) {
	if clock == 0 {
		return
	}
	now := reading{known: true, ahead: clock - int64(sent), seen: sent}
	atLeast := clock - int64(answered)
	leapt := g.leapt(w.first, atLeast, answered) || g.leapt(w.last, atLeast, answered)
	if leapt {
		w.leaptUntil = answered.Add(g.grace())
	}
	// A lower reading is the tighter bound.
	if leapt || now.ahead < w.first.ahead || g.forgotten(w.first, answered) {
		w.first = now
	}
	w.last = now
}

// leapt says that a clock is further ahead than an earlier reading, drift and
// grain explain.
func (g *Guards) leapt(earlier reading, atLeast int64, at Instant) bool {
	return !g.forgotten(earlier, at) &&
		atLeast-earlier.ahead > int64(g.cfg.Margin(max(0, at.Sub(earlier.seen))))
}

// forgotten says that a reading is from before every grant that can still stand.
func (g *Guards) forgotten(r reading, at Instant) bool {
	return !r.known || at.Sub(r.seen) > g.grace()
}

// grace is how long a grant can stand, by anybody's clock.
func (g *Guards) grace() time.Duration { return g.cfg.MaxTTL + g.cfg.Margin(g.cfg.MaxTTL) }
