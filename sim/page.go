package sim

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// WriteHTML writes one page with everything in it that a person needs to
// understand the runs: it needs no network and no JavaScript. The runs must have
// been recorded.
func (s ScenarioResult) WriteHTML(out io.Writer) error {
	b := &strings.Builder{}
	begin(b, s.Scenario.Title)
	fmt.Fprintf(b, `<p class="story">%s</p>`, html.EscapeString(s.Scenario.Story))
	s.Report.panel(b, asItShips, s.command())
	for i := range s.Twins {
		s.Twins[i].panel(b, s.Twins[i].heading(), "")
	}
	return end(b, out)
}

func (s ScenarioResult) command() string {
	return "redlock sim run " + s.Scenario.Name + " --html " + s.Scenario.Name + ".html"
}

// WriteHTML writes a page about one recorded run. If it was without a defence, its
// twin that has them all is shown beside it.
func (r *Report) WriteHTML(out io.Writer, title, command string) error {
	b := &strings.Builder{}
	begin(b, title)
	r.panel(b, r.heading(), command)
	if twin, ok := r.twin(); ok {
		twin.panel(b, twin.heading(), "")
	}
	return end(b, out)
}

const asItShips = "As it ships"

func (r *Report) heading() string {
	if r.Config.Without == 0 {
		return asItShips
	}
	return "Without: " + textOf(r.Config.Without)
}

// twin is the same run with all defences.
func (r *Report) twin() (Report, bool) {
	if r.Config.Without == 0 {
		return Report{}, false
	}
	cfg := *r.Config
	cfg.Without, cfg.Tape = 0, nil
	return Run(cfg), true
}

// Panel is one section of a page: a run, and what else there is to say of it.
type Panel struct {
	Heading string
	Report  *Report  // its picture and its story; nil for none
	Command string   // that does it again
	Lines   []string // figures, in words
	Figure  string   // SVG, which is put in as it is
}

// WritePage writes a page of several panels; see ScenarioResult.WriteHTML. A Figure
// has the classes of the pictures, and those of lines: l0 to l5.
func WritePage(out io.Writer, title, story string, panels []Panel) error {
	b := &strings.Builder{}
	begin(b, title)
	fmt.Fprintf(b, `<p class="story">%s</p>`, html.EscapeString(story))
	for _, p := range panels {
		if p.Report != nil {
			p.Report.panel(b, p.Heading, p.Command)
		}
		if p.Report != nil && p.Figure == "" && len(p.Lines) == 0 {
			continue
		}
		b.WriteString(`<section>`)
		if p.Report == nil {
			fmt.Fprintf(b, `<h2>%s</h2>`, html.EscapeString(p.Heading))
		}
		if p.Figure != "" {
			fmt.Fprintf(b, `<div class="picture">%s</div>`, p.Figure)
		}
		for _, line := range p.Lines {
			fmt.Fprintf(b, `<p class="numbers">%s</p>`, html.EscapeString(line))
		}
		b.WriteString(`</section>`)
	}
	return end(b, out)
}

// textOf is a defence in words.
func textOf(d Defence) string {
	var texts []string
	for _, def := range defences {
		if d.Has(def.bit) {
			texts = append(texts, def.text)
		}
	}
	return strings.Join(texts, "; ")
}

func begin(b *strings.Builder, title string) {
	fmt.Fprintf(b, `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">`+
		`<title>%s</title><style>%s</style></head><body><main><h1>%s</h1>`, html.EscapeString(title), pageStyle, html.EscapeString(title))
}

func end(b *strings.Builder, out io.Writer) error {
	b.WriteString(pageLegend + "</main></body></html>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

const pageLegend = `<footer><p><b>How to read it.</b> Time runs to the right, on a bent scale: idle stretches are short. A solid bar in a
client’s row is its lease, with the token; a thin hatched one is the time it asked. A bar in a node’s row is its grant, in the
colour of the client it is to, with its fence; a lower hatched one says that the free key is set aside for a waiter, and a thin strip below says that the node may not vote yet. ● is a write that the fenced resource took, ✖ one that it refused and that a resource
without tokens would have lost data by. ⚑ is a fault; the red line is where a promise broke, and a red band is where two leases
were valid at once. Grey arrows are the requests, answers and writes that led there.</p></footer>`

// panel tells of one run.
func (r *Report) panel(b *strings.Builder, heading, command string) {
	fmt.Fprintf(b, `<section><h2>%s</h2><p class="verdict v%d">%s</p>`, html.EscapeString(heading), r.Verdict, html.EscapeString(r.Headline()))
	svg, legend := r.draw()
	fmt.Fprintf(b, `<div class="picture" tabindex="0">%s</div>`, svg)
	if len(legend) > 0 {
		b.WriteString(`<ul class="faults">`)
		for _, line := range shorten(legend) {
			fmt.Fprintf(b, `<li>%s</li>`, html.EscapeString(line))
		}
		b.WriteString(`</ul>`)
	}
	if r.Told() {
		b.WriteString(`<h3>What led to it</h3><table>`)
		for _, n := range r.slice() {
			fmt.Fprintf(b, `<tr><td class="t">%s</td><th>%s</th><td>%s</td></tr>`, shortTime(n.At), html.EscapeString(n.Who), html.EscapeString(n.Text))
		}
		b.WriteString(`</table>`)
	}
	fmt.Fprintf(b, `<p class="numbers">%s</p>`, html.EscapeString(r.Numbers()))
	if command != "" {
		fmt.Fprintf(b, `<p class="numbers">Again: <code>%s</code></p>`, html.EscapeString(command))
	}
	b.WriteString(`</section>`)
}

// Headline is the verdict and what it rests on, in a few sentences.
func (r *Report) Headline() string {
	text := strings.ToUpper(r.Verdict.String())
	if caption := r.Caption(); caption != "" {
		return text + ". " + caption
	}
	return text + "."
}

// Caption says in words what went wrong; it is empty if nothing did.
func (r *Report) Caption() string {
	var text string
	if v := r.gravest(); v != nil {
		text = v.Text
		if v.Beyond != "" {
			text += "; outside the assumptions, since " + v.Beyond
		}
		text += ". "
	}
	if fault := r.lastFault(); fault != "" {
		text += "The last fault before was " + fault + ". "
	}
	switch {
	case r.Stats.LostUpdates > 0 && r.Stats.Rejected > 0:
		text += fmt.Sprintf("The fenced resource refused %s%s; one without tokens lost %s.",
			count(r.Stats.Rejected, "write"), r.refused(), count(r.Stats.LostUpdates, "update"))
	case r.Stats.LostUpdates > 0:
		text += fmt.Sprintf("The resource lost %s.", count(r.Stats.LostUpdates, "update"))
	}
	return strings.TrimSpace(text)
}

// lastFault is the fault before what went wrong, in words.
func (r *Report) lastFault() string {
	if !r.Told() {
		return ""
	}
	story := r.slice()
	for i := len(story) - 1; i >= 0; i-- {
		if n := &story[i]; n.Fault && !strings.HasPrefix(n.Text, "over: ") {
			return n.Text + " at " + shortTime(n.At)
		}
	}
	return ""
}

// refused tells of the first write that was, such as " (c1's, #1 < #2)".
func (r *Report) refused() string {
	if r.world == nil || r.world.rec == nil {
		return ""
	}
	return r.world.rec.refusal
}

// gravest is what to tell first: two holders, rather than what made them
// possible.
func (r *Report) gravest() *Violation {
	for i := range r.Violations {
		if r.Violations[i].Invariant == Exclusion {
			return &r.Violations[i]
		}
	}
	return r.Broken()
}

// Numbers are the run's counts, in a line.
func (r *Report) Numbers() string {
	s := &r.Stats
	return fmt.Sprintf("%d nodes, %d clients, seed %d: %s in %v; %s, %d failed, %d given up, %d lost; %s, %s lost; %s. Hash %016x.",
		r.Config.Nodes, r.Config.Clients, r.Config.Seed, count(s.Events, "event"), s.Time.Round(time.Millisecond), count(s.Acquired, "lease"),
		s.Failed, s.GaveUp, s.Losses, count(s.Faults, "fault"), count(s.Lost, "message"), count(s.Writes, "write"), r.Hash)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// colours, of light and dark pages and images.
const colours = `
:root{color-scheme:light dark;--bg:#fbfaf7;--fg:#1d2126;--soft:#666e78;--line:#dcdad3;--card:#fff;--red:#c22f2f;--safe:#1b7a4b;--warn:#9a6200;
--k0:#2f6fb5;--k1:#c7651d;--k2:#7a4fb0;--k3:#2a8a86;--k4:#a83f77;--k5:#6b7a1f;--grey:#c9c6be}
@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e7e5df;--soft:#98a1ab;--line:#30363d;--card:#1c2126;--red:#ff7066;--safe:#58c98d;--warn:#e2aa4e;
--k0:#5c9fe6;--k1:#ec9352;--k2:#ab86e0;--k3:#55bbb5;--k4:#dd7bab;--k5:#aebd56;--grey:#4a5159}}
`

// drawing is the style of the pictures.
const drawing = `
svg{font:12px system-ui,sans-serif}.paper{fill:var(--card)}.title{font-size:18px;font-weight:700}.heading{font-weight:700;font-size:14px}
svg text{fill:var(--fg)}.row{text-anchor:end;font-weight:600}.time{fill:var(--soft)!important;font-size:11px}.rule{stroke:var(--line)}.tick{stroke:var(--line);stroke-dasharray:2 4}
.arrow{stroke:var(--fg);opacity:.55}.tip{fill:var(--fg)}
.k0{fill:var(--k0)}.k1{fill:var(--k1)}.k2{fill:var(--k2)}.k3{fill:var(--k3)}.k4{fill:var(--k4)}.k5{fill:var(--k5)}.grant{opacity:.55}.asking,.aside{opacity:.45}.pause,.down,.quarantine{fill:var(--grey);opacity:.75}.ink{fill:var(--card);opacity:.6}
.in{font-size:11px;fill:#fff!important;font-weight:600}.in-grant,.in-aside,.in-pause,.in-down,.in-quarantine{fill:var(--fg)!important}@media(prefers-color-scheme:dark){.in{fill:#10131a!important}.in-grant,.in-aside,.in-pause,.in-down,.in-quarantine{fill:var(--fg)!important}}
.band{fill:var(--red);opacity:.22}.fault{stroke:var(--red);stroke-dasharray:1 3;opacity:.7}.breach{stroke:var(--red);stroke-width:2.5}.flag{fill:var(--red)!important;font-size:12px}.accepted{fill:var(--safe)!important;font-size:13px}.rejected{fill:var(--red)!important;font-size:17px;font-weight:700;stroke:var(--card);stroke-width:3px;paint-order:stroke}
`

const pageStyle = colours + drawing + `
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 16px 48px}h1{font-size:1.6rem;line-height:1.25;margin:.2em 0 .4em}h2{font-size:1.1rem;margin:0 0 .4em}h3{font-size:1rem;margin:1.2em 0 .3em}
.story{max-width:75ch}section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin:20px 0}
.verdict{font-weight:600;border-left:4px solid var(--soft);padding-left:10px;margin:.3em 0 1em}.v1{border-color:var(--safe)}.v2{border-color:var(--warn)}.v3,.v4{border-color:var(--red)}
.picture{overflow-x:auto}.picture svg{display:block;min-width:760px;width:100%;height:auto}
.line{fill:none;stroke-width:1.5}.l0{stroke:var(--k0)}.l1{stroke:var(--k1)}.l2{stroke:var(--k2)}.l3{stroke:var(--k3)}.l4{stroke:var(--k4)}.l5{stroke:var(--k5)}
.faults{list-style:none;padding:0;margin:.6em 0;columns:2 320px;font-size:.88rem;color:var(--soft)}table{border-collapse:collapse;font-size:.92rem}td,th{padding:2px 14px 2px 0;text-align:left;vertical-align:top}.t{color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
.numbers{font-size:.86rem;color:var(--soft);margin:.5em 0 0;overflow-wrap:anywhere}footer{color:var(--soft);font-size:.9rem;max-width:90ch}code{font-size:.95em}
`
