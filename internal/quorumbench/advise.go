package quorumbench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Advice is one thing to know or to do.
type Advice struct {
	Kind      Kind     `json:"kind"`
	Setting   string   `json:"setting,omitempty"`      // "node-timeout" or "ttl"
	Suggested Duration `json:"suggested_ms,omitempty"` // of the setting
	Text      string   `json:"text"`
}

// Kind says how urgent advice is.
type Kind string

// The kinds of advice.
const (
	Fine   Kind = "fine"   // as it is
	Note   Kind = "note"   // worth knowing
	Change Kind = "change" // do something
)

// Facts are what advice rests on.
type Facts struct {
	Nodes, Concurrency, Keys int
	TTL, NodeTimeout         time.Duration
	Lock, Majority, OneGone  Latency
	Failed                   int64 // locks that were not to be had
	PerNode                  []NodeReport
}

func (r *Report) facts() Facts {
	return Facts{
		Nodes: r.Nodes, Concurrency: r.Concurrency, Keys: r.Keys,
		TTL: time.Duration(r.TTL), NodeTimeout: time.Duration(r.NodeTimeout),
		Lock: r.Lock, Majority: r.Majority, OneGone: r.OneGone, Failed: r.Failed, PerNode: r.PerNode,
	}
}

// Advise says what settings go with what was measured, and what else stands out.
func Advise(f Facts) []Advice {
	if f.Lock.Count == 0 {
		return []Advice{{Kind: Change, Text: "No lock was had, so there is nothing to go by: see what the nodes say, with redlock nodes."}}
	}
	var all []Advice
	if f.Failed > 0 {
		all = append(all, adviseOutage(&f))
	}
	all = append(all, adviseNodeTimeout(&f), adviseTTL(&f))
	all = append(all, adviseNodes(&f)...)
	if m, g := time.Duration(f.Majority.P50), time.Duration(f.OneGone.P50); f.OneGone.Count > 0 && g > 3*m && g-m > noticeable {
		all = append(all, Advice{Kind: Note, Text: fmt.Sprintf(
			"Without its fastest node a majority takes %s rather than %s (p50): a node more, near this machine, would make up for the loss of one.", Text(g), Text(m))})
	}
	if f.Nodes%2 == 0 {
		all = append(all, Advice{Kind: Note, Text: fmt.Sprintf("%d nodes stand no more failures than %d would, and need a vote more.", f.Nodes, f.Nodes-1)})
	}
	if f.Keys < f.Concurrency {
		all = append(all, Advice{Kind: Note, Text: fmt.Sprintf(
			"%d workers shared %d keys: the latencies hold the time they waited for each other, and say little about TTL and node timeout.", f.Concurrency, f.Keys)})
	}
	if f.Lock.Count < enoughLocks {
		all = append(all, Advice{Kind: Note, Text: fmt.Sprintf(
			"%d locks are few: the rare slow answer, which settings are for, may be yet to come. Run it for longer, and in your busy hours.", f.Lock.Count)})
	}
	return all
}

const (
	enoughLocks = 10_000

	// noticeable is a difference that is worth a word.
	noticeable = 200 * time.Microsecond

	// leastTimeout is below what a busy client or a garbage collection of its own
	// takes now and then, whatever the nodes do.
	leastTimeout = 50 * time.Millisecond

	// leastTTL is what a client can be paused for without anything being wrong.
	leastTTL = 2 * time.Second

	timeoutPerAnswer = 4  // node timeouts have room for so many times a slow answer
	ttlPerTimeout    = 20 // as the default node timeout is a twentieth of a TTL
	ttlPerLock       = 10 // so that the slowest lock costs a tenth of the validity
)

// slowAnswer is how long a majority may need: rarely while all is well, and less
// rarely while a node is gone.
func (f *Facts) slowAnswer() time.Duration {
	return time.Duration(max(f.Majority.P999, f.OneGone.P99))
}

func (f *Facts) fittingTimeout() time.Duration {
	return roundUp(max(leastTimeout, timeoutPerAnswer*f.slowAnswer()))
}

func adviseOutage(f *Facts) Advice {
	return Advice{Kind: Change, Text: fmt.Sprintf(
		"%d of %d locks were not to be had: at times too few nodes answered for a majority, which is an outage to whoever locks. See to the nodes that failed; what is said of latencies is of the other locks.",
		f.Failed, f.Failed+f.Lock.Count)}
}

func adviseNodeTimeout(f *Facts) Advice {
	fitting := f.fittingTimeout()
	a := Advice{Kind: Fine, Setting: "node-timeout", Suggested: Duration(fitting)}
	basis := fmt.Sprintf("a majority takes %s at p99.9", Text(time.Duration(f.Majority.P999)))
	if f.OneGone.Count > 0 {
		basis += fmt.Sprintf(", and %s at p99 with its fastest node gone", Text(time.Duration(f.OneGone.P99)))
	}
	switch {
	case f.NodeTimeout < 2*f.slowAnswer():
		a.Kind = Change
		a.Text = fmt.Sprintf("Raise the node timeout from %s to %s: %s, and an answer that is merely slow counts as none.", Text(f.NodeTimeout), Text(fitting), basis)
	case f.Failed > 0:
		a.Kind, a.Suggested = Note, 0
		a.Text = fmt.Sprintf("Whether the node timeout of %s fits cannot be told: %s, but of the locks that were had. An answer that came later counts as a failure.", Text(f.NodeTimeout), basis)
	case f.NodeTimeout >= 4*fitting:
		a.Text = fmt.Sprintf("The node timeout of %s is ample: %s. %s would do, and tell of an outage sooner.", Text(f.NodeTimeout), basis, Text(fitting))
	default:
		a.Text = fmt.Sprintf("The node timeout of %s fits: %s.", Text(f.NodeTimeout), basis)
	}
	return a
}

func adviseTTL(f *Facts) Advice {
	slowest := time.Duration(f.Lock.Max)
	if f.Keys < f.Concurrency || f.Failed > 0 {
		slowest = time.Duration(f.Majority.Max) // the rest was waiting for each other, or for nodes to come back
	}
	fitting := roundUp(max(leastTTL, ttlPerTimeout*f.fittingTimeout(), ttlPerLock*slowest))
	a := Advice{Kind: Fine, Setting: "ttl", Suggested: Duration(fitting)}
	basis := fmt.Sprintf("the slowest lock took %s", Text(slowest))
	switch {
	case f.TTL < fitting/2:
		a.Kind = Change
		a.Text = fmt.Sprintf("Raise the TTL from %s to %s: %s, and a lease has to outlast renewals that slow, and pauses of its holder.", Text(f.TTL), Text(fitting), basis)
	case f.TTL >= 4*fitting:
		a.Text = fmt.Sprintf("The TTL of %s is ample: %s. %s would free a crashed holder's key sooner, if no holder is ever paused for nearly that long.", Text(f.TTL), basis, Text(fitting))
	default:
		a.Text = fmt.Sprintf("The TTL of %s fits: %s.", Text(f.TTL), basis)
	}
	return a
}

// adviseNodes points out nodes that fail, and nodes that drag.
func adviseNodes(f *Facts) (all []Advice) {
	for i := range f.PerNode {
		n := &f.PerNode[i]
		switch others := medianOfOthers(f.PerNode, i); {
		case n.Asked > 0 && n.Failed*1000 >= n.Asked:
			text := fmt.Sprintf("%s failed %.1f %% of what it was asked", n.Node, 100*float64(n.Failed)/float64(n.Asked))
			if n.LastError != "" {
				text += ", last with: " + n.LastError
			}
			all = append(all, Advice{Kind: Change, Text: text + ". Nothing waits for it while enough others answer, but it is no spare."})
		case n.Acquire.Count > 0 && others > 0 && time.Duration(n.Acquire.P50) > 3*others && time.Duration(n.Acquire.P50)-others > noticeable:
			all = append(all, Advice{Kind: Note, Text: fmt.Sprintf(
				"%s drags: it takes %s where the others take %s (p50), and is last in %.0f %% of the rounds. Nothing waits for it while enough others answer.",
				n.Node, Text(time.Duration(n.Acquire.P50)), Text(others), 100*n.Last)})
		}
	}
	return all
}

func medianOfOthers(nodes []NodeReport, except int) time.Duration {
	var others []time.Duration
	for i := range nodes {
		if i != except && nodes[i].Acquire.Count > 0 {
			others = append(others, time.Duration(nodes[i].Acquire.P50))
		}
	}
	if len(others) == 0 {
		return 0
	}
	slices.Sort(others)
	return others[len(others)/2]
}

// roundUp gives a number that people would write: 1, 1.5, 2, 2.5, 3, 4, 5 or 7.5
// times a power of ten.
func roundUp(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	power := time.Duration(math.Pow10(int(math.Log10(float64(d)))))
	for _, tenths := range []time.Duration{10, 15, 20, 25, 30, 40, 50, 75} {
		if nice := power / 10 * tenths; nice >= d {
			return nice
		}
	}
	return 10 * power
}
