package sim

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/redlock/internal/protocol"
)

// Verb is what a fault does.
type Verb uint8

// The faults.
const (
	Pause    Verb = iota + 1 // a process stands still; its clocks go on
	Suspend                  // a machine stands still, and its monotonic clock with it
	Crash                    // a process ends, and with For is started again after that
	Failover                 // a node's replica takes over, with the state of some time ago
	Evict                    // a node drops the key and says nothing
	Jump                     // a wall clock is set
	Drift                    // clocks run fast or slow
	Cut                      // messages on a link are lost
	Hold                     // messages on a link wait until it ends
	Slow                     // messages on a link take longer
	Lose                     // one message is lost
	Repeat                   // one message arrives a second time, later
	Nudge                    // a client asks for the lock at once; no fault, but good aim
	Aim                      // the same, at the moment at which another's lock ends
	Clone                    // a machine's snapshot goes on as another, once For is over
	Move                     // a client is started again with another list of nodes
	Reset                    // connections of a link break, and what is on its way is lost
	Shake                    // messages on a link take longer, by chance
	Flush                    // a node drops everything that it has
	Full                     // a node has no memory left, and fails what needs any
	Expire                   // a node ends a client's sessions, and what lives with them
	Idle                     // connections on which nothing came for so long break
	Slice                    // messages on a link arrive in pieces
	Throttle                 // a link carries so many bytes a second
)

var verbs = [...]string{
	Pause: "pause", Suspend: "suspend", Crash: "crash", Failover: "failover", Evict: "evict", Jump: "jump",
	Drift: "drift", Cut: "cut", Hold: "hold", Slow: "slow", Lose: "lose", Repeat: "repeat", Nudge: "nudge", Aim: "aim",
	Clone: "clone", Move: "move",
	Reset: "reset", Shake: "shake", Flush: "flush", Full: "full", Expire: "expire", Idle: "idle", Slice: "slice", Throttle: "throttle",
}

// The last three are what connections are to real servers (sim/chaos). A simulated
// network has messages and no connections: they change nothing there.
func (v Verb) realOnly() bool { return v == Idle || v == Slice || v == Throttle }

// ofLinks says that a fault befalls links.
func (v Verb) ofLinks() bool {
	switch v {
	case Cut, Hold, Slow, Lose, Repeat, Reset, Shake, Idle, Slice, Throttle:
		return true
	}
	return false
}

func (v Verb) String() string {
	if int(v) < len(verbs) && verbs[v] != "" {
		return verbs[v]
	}
	return "none"
}

// Nobody and everybody, in Fault.Client and Fault.Node.
const (
	none = -1
	all  = -2
)

// both is Fault.Direction for links cut, held or slowed both ways.
const both = 2

// Fault is something that happens to the world: at a time, or when a client gets
// to some point. It prints itself and parses back: see ParseFault.
type Fault struct {
	At     time.Duration // of the world's time; with On, after the event
	On     string        // an event of OnClient's: see events
	Client int           // what it happens to; -1 for none, -2 for all
	Node   int
	Store  bool // the link from a client to the resource

	OnClient, OnCount int // OnCount-th such event, from 1

	Verb      Verb
	Direction int           // of a link: to the node, to the client, or both
	Number    int           // Lose, Repeat: of the message on its link, from 1
	By        time.Duration // Jump, Slow, Repeat, Aim, Shake, Idle
	Bytes     int           // Slice, Throttle
	PPM       int64         // Drift
	LosesAll  bool          // Crash
	Losing    time.Duration // Crash, Failover: what was written in the last so long
	Edge      string        // Aim: "expiry" on the nodes, "validity" at the holder, "age" of a node
	Of        int           // Aim: the other client; Clone: the client that goes on with the copy
	Nodes     uint64        // Move: the nodes, a bit each
	For       time.Duration // until it is over; zero for good
}

// events are the points of a client's life at which a fault can strike.
var events = []string{
	"asks", "starts", "confirms", "wins", "takes", "checks", "writes", "renews", "unlocks", "fails", "loses",
	"queues", "called", "passes",
}

func name(letter string, i int) string {
	if i == all {
		return letter + "*"
	}
	return letter + strconv.Itoa(i+1)
}

// String is the fault in the language that ParseFault reads.
func (f Fault) String() string {
	var b strings.Builder
	if f.On == "" {
		fmt.Fprintf(&b, "at %v ", f.At)
	} else {
		fmt.Fprintf(&b, "on %s %s", name("c", f.OnClient), f.On)
		if f.OnCount > 1 {
			fmt.Fprintf(&b, "#%d", f.OnCount)
		}
		if f.At > 0 {
			fmt.Fprintf(&b, " after %v", f.At)
		}
		b.WriteByte(' ')
	}
	b.WriteString(f.Verb.String() + " " + f.target())
	switch f.Verb {
	case Jump:
		fmt.Fprintf(&b, " by %v", f.By)
	case Slow, Repeat, Shake, Idle:
		fmt.Fprintf(&b, " by %v", f.By)
	case Slice, Throttle:
		fmt.Fprintf(&b, " by %dB", f.Bytes)
	case Drift:
		fmt.Fprintf(&b, " by %dppm", f.PPM)
	case Aim:
		fmt.Fprintf(&b, " at %s of %s by %v", f.Edge, f.aimedAt(), f.By)
	case Clone:
		b.WriteString(" as " + name("c", f.Of))
	case Move:
		b.WriteString(" to " + nodeNames(f.Nodes))
	}
	if f.LosesAll {
		b.WriteString(" losing all")
	} else if f.Losing > 0 {
		fmt.Fprintf(&b, " losing %v", f.Losing)
	}
	if f.For > 0 {
		fmt.Fprintf(&b, " for %v", f.For)
	}
	return b.String()
}

// nodeNames lists a set of nodes, as parseNodes reads it.
func nodeNames(nodes uint64) string {
	var names []string
	for ; nodes != 0; nodes &= nodes - 1 {
		names = append(names, name("n", bits.TrailingZeros64(nodes)))
	}
	return strings.Join(names, ",")
}

func (f *Fault) aimedAt() string {
	if f.Edge == "age" {
		return name("n", f.Of)
	}
	return name("c", f.Of)
}

func (f *Fault) target() string {
	switch {
	case f.Store:
		return name("c", f.Client) + "->store"
	case f.Client != none && f.Node != none:
		c, n := name("c", f.Client), name("n", f.Node)
		text := c + "-" + n
		switch f.Direction {
		case toNode:
			text = c + "->" + n
		case toClient:
			text = n + "->" + c
		}
		if f.Number > 0 {
			text += "#" + strconv.Itoa(f.Number)
		}
		return text
	case f.Client != none:
		return name("c", f.Client)
	}
	return name("n", f.Node)
}

// ParseFault reads a fault, such as
//
//	at 1.5s pause c1 for 3s
//	on c1 takes#2 after 5ms crash n1 losing all for 100ms
//	on c2 wins cut c1-n* for 1s
//	at 0s drift n2 by 20000ppm
//	at 1s jump n3 by -10s
//	at 0s lose c1->n2#4
//	on c1 takes aim c2 at expiry of c1 by 10µs
//	on c1 checks clone c1 as c3 for 20s
//	at 1s move c2 to n3,n4,n5
//	at 1s shake c*-n2 by 20ms for 5s
//	at 1s throttle n1->c* by 2000B for 5s
//	at 1s expire c1-n3
func ParseFault(text string) (Fault, error) {
	p := faultParser{words: strings.Fields(text), f: Fault{Client: none, Node: none}}
	p.when()
	p.what()
	for len(p.words) > 0 && p.err == nil {
		p.clause(p.word())
	}
	if p.err != nil {
		return Fault{}, fmt.Errorf("sim: fault %q: %w", text, p.err)
	}
	return p.f, nil
}

type faultParser struct {
	words []string
	f     Fault
	err   error
}

func (p *faultParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *faultParser) word() string {
	if len(p.words) == 0 {
		p.fail("it ends too early")
		return ""
	}
	word := p.words[0]
	p.words = p.words[1:]
	return word
}

func (p *faultParser) duration() time.Duration {
	d, err := time.ParseDuration(p.word())
	if err != nil {
		p.fail("%v", err)
	}
	return d
}

func (p *faultParser) when() {
	switch word := p.word(); word {
	case "at":
		p.f.At = p.duration()
	case "on":
		p.f.OnClient = p.indexed("c", p.word())
		event, count, found := strings.Cut(p.word(), "#")
		p.f.On, p.f.OnCount = event, 1
		if found {
			p.f.OnCount = p.number(count)
		}
		known := false
		for _, e := range events {
			known = known || e == event
		}
		if !known {
			p.fail("there is no event %q: use one of %s", event, strings.Join(events, ", "))
		}
		if len(p.words) > 0 && p.words[0] == "after" {
			p.word()
			p.f.At = p.duration()
		}
	default:
		p.fail("it begins with %q, not with at or on", word)
	}
}

func (p *faultParser) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		p.fail("%q is no number from 1", text)
	}
	return n
}

// indexed reads c3 or c*.
func (p *faultParser) indexed(letter, text string) int {
	rest, ok := strings.CutPrefix(text, letter)
	if !ok {
		p.fail("%q is not one of %s1, %s2, ..., %s*", text, letter, letter, letter)
		return none
	}
	if rest == "*" {
		return all
	}
	return p.number(rest) - 1
}

func (p *faultParser) what() {
	verb := p.word()
	for v, text := range verbs {
		if text == verb && text != "" {
			p.f.Verb = Verb(v)
		}
	}
	if p.f.Verb == 0 {
		p.fail("there is no fault %q", verb)
	}
	target, number, found := strings.Cut(p.word(), "#")
	if found {
		p.f.Number = p.number(number)
	}
	p.target(target)
}

func (p *faultParser) target(text string) {
	if from, to, ok := strings.Cut(text, "->"); ok {
		switch {
		case to == "store":
			p.f.Client, p.f.Store = p.indexed("c", from), true
		case strings.HasPrefix(from, "c"):
			p.f.Client, p.f.Node, p.f.Direction = p.indexed("c", from), p.indexed("n", to), toNode
		default:
			p.f.Client, p.f.Node, p.f.Direction = p.indexed("c", to), p.indexed("n", from), toClient
		}
		return
	}
	if from, to, ok := strings.Cut(text, "-"); ok {
		p.f.Client, p.f.Node, p.f.Direction = p.indexed("c", from), p.indexed("n", to), both
		return
	}
	if strings.HasPrefix(text, "c") {
		p.f.Client = p.indexed("c", text)
	} else {
		p.f.Node = p.indexed("n", text)
	}
}

func (p *faultParser) clause(word string) {
	switch word {
	case "for":
		p.f.For = p.duration()
	case "losing":
		if len(p.words) > 0 && p.words[0] == "all" {
			p.word()
			p.f.LosesAll = true
			return
		}
		p.f.Losing = p.duration()
	case "by":
		if p.f.Verb == Slice || p.f.Verb == Throttle {
			p.f.Bytes = p.number(strings.TrimSuffix(p.word(), "B"))
			return
		}
		if p.f.Verb == Drift {
			ppm, err := strconv.ParseInt(strings.TrimSuffix(p.word(), "ppm"), 10, 64)
			if err != nil {
				p.fail("%v", err)
			}
			p.f.PPM = ppm
			return
		}
		p.f.By = p.duration()
	case "at":
		p.f.Edge = p.word()
		if of := p.word(); of != "of" {
			p.fail("of, and not %q, comes after what to aim at", of)
		}
		letter := "c"
		if p.f.Edge == "age" {
			letter = "n"
		}
		p.f.Of = p.indexed(letter, p.word())
	case "as":
		p.f.Of = p.indexed("c", p.word())
	case "to":
		p.f.Nodes = p.nodes(p.word())
	default:
		p.fail("what is %q?", word)
	}
}

// nodes reads n1,n3.
func (p *faultParser) nodes(text string) (nodes uint64) {
	for word := range strings.SplitSeq(text, ",") {
		i := p.indexed("n", word)
		if i < 0 || i >= protocol.MaxNodes {
			p.fail("%q is no list of nodes such as n1,n2,n3", text)
			return 0
		}
		nodes |= 1 << i
	}
	return nodes
}

// check refuses a fault that does not fit the world.
func (f *Fault) check(c *Config) error {
	link := f.Verb.ofLinks() || f.Verb == Expire
	isLink := f.Store || f.Client != none && f.Node != none
	switch {
	case f.Client >= c.Clients || f.OnClient >= c.Clients || f.Verb == Aim && f.Edge != "age" && f.Of >= c.Clients:
		return fmt.Errorf("sim: fault %q: there are only %d clients", f, c.Clients)
	case f.Node >= c.Nodes || f.Verb == Aim && f.Edge == "age" && f.Of >= c.Nodes:
		return fmt.Errorf("sim: fault %q: there are only %d nodes", f, c.Nodes)
	case link != isLink:
		return fmt.Errorf("sim: fault %q: %v is not for that: a link is c1-n2, and cut, hold, slow, lose and the like are for links only", f, f.Verb)
	case (f.Verb == Lose || f.Verb == Repeat) && (f.Number == 0 || f.Client < 0 || f.Node < 0 || f.Direction == both):
		return fmt.Errorf("sim: fault %q: name one message, such as c1->n2#4", f)
	case (f.Verb == Failover || f.Verb == Evict || f.Verb == Flush || f.Verb == Full) && f.Client != none:
		return fmt.Errorf("sim: fault %q: that is for nodes", f)
	case f.Verb == Clone && (f.Client < 0 || f.Of < 0 || f.Of >= c.Clients || f.Of == f.Client):
		return fmt.Errorf("sim: fault %q: name one client, and another of the %d that goes on as its copy", f, c.Clients)
	case f.Verb == Move && (f.Nodes == 0 || bits.Len64(f.Nodes) > c.Nodes):
		return fmt.Errorf("sim: fault %q: name some of the %d nodes", f, c.Nodes)
	case (f.Verb == Nudge || f.Verb == Aim || f.Verb == Move) && f.Client == none:
		return fmt.Errorf("sim: fault %q: that is for clients", f)
	}
	return nil
}
