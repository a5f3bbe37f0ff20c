package quorumbench

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// WriteHTML writes the report as one page that needs no network and no JavaScript.
// Command is how to measure again; it may be empty.
func (r *Report) WriteHTML(out io.Writer, when time.Time, command string) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, `<!doctype html><html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>`+
		`<title>redlock bench</title><style>%s</style></head><body><main><h1>What a lock costs on these %d nodes</h1>`, pageStyle, r.Nodes)
	fmt.Fprintf(b, `<p class="lead">%s</p>`, html.EscapeString(r.Headline()))
	r.cards(b)
	r.adviceList(b)
	section(b, "How long Lock took", "From the fastest to the slowest: from one mark to the next, what is slower gets ten times rarer.", r.percentilePlot())
	section(b, "How often it took how long", "Locks by their latency, both on bent scales that show rare ones too.", r.histogramPlot())
	section(b, "What a majority saves", fmt.Sprintf("A lock is there when %d of %d nodes have granted it. The light bar is what waiting for all of them would take.", r.Quorum, r.Nodes), r.savingPlot())
	section(b, "Node by node", "Each bar goes from the median to p99 of the node's answers; the thin line goes on to its slowest. The numbers say in how many rounds it was the one that made the majority full, and the last.", r.nodePlot())
	section(b, "Over time", "Median and p99 of Lock in each slice of the run.", r.timePlot())
	r.tables(b)
	fmt.Fprintf(b, `<footer><p>%s</p><p>Measured %s; TTL %s, node timeout %s.`, html.EscapeString(r.cleanliness()),
		when.Format("2006-01-02 15:04:05 MST"), r.TTL.text(), r.NodeTimeout.text())
	if command != "" {
		fmt.Fprintf(b, ` Again: <code>%s</code>`, html.EscapeString(command))
	}
	b.WriteString("</p></footer></main></body></html>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func section(b *strings.Builder, title, caption, svg string) {
	if svg != "" {
		fmt.Fprintf(b, `<section><h2>%s</h2><p class="caption">%s</p><div class="plot">%s</div></section>`, html.EscapeString(title), html.EscapeString(caption), svg)
	}
}

// cards are the numbers to take away.
func (r *Report) cards(b *strings.Builder) {
	b.WriteString(`<div class="cards">`)
	card := func(number, what string) {
		fmt.Fprintf(b, `<div class="card"><b>%s</b><span>%s</span></div>`, html.EscapeString(number), html.EscapeString(what))
	}
	if r.Lock.Count > 0 {
		card(r.Lock.P50.text(), "Lock, median")
		card(r.Lock.P99.text(), "Lock, p99")
		card(r.Unlock.P50.text(), "Unlock, median")
	}
	card(fmt.Sprintf("%.0f/s", r.PerSecond), "locks")
	if r.Saved.Count > 0 {
		card(r.Saved.P99.text(), "saved by the majority, p99")
	}
	b.WriteString(`</div>`)
}

func (r *Report) adviceList(b *strings.Builder) {
	b.WriteString(`<ul class="advice">`)
	for _, a := range r.Advice {
		fmt.Fprintf(b, `<li class="%s"><b>%s</b> %s</li>`, a.Kind, a.Kind, html.EscapeString(a.Text))
	}
	b.WriteString(`</ul>`)
}

func (r *Report) tables(b *strings.Builder) {
	b.WriteString(`<section><h2>The numbers</h2><div class="plot"><table><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>`)
	row := func(name string, l *Latency, more string) {
		fmt.Fprintf(b, `<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td>%s</tr>`, html.EscapeString(name),
			l.P50.text(), l.P90.text(), l.P99.text(), l.P999.text(), l.Max.text(), more)
	}
	for _, line := range r.latencyRows() {
		if line.latency.Count > 0 {
			row(line.name, line.latency, "")
		}
	}
	b.WriteString(`</table></div><div class="plot"><table><tr><th>acquire</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>decides</th><th>is last</th><th>failed</th></tr>`)
	for i := range r.PerNode {
		n := &r.PerNode[i]
		row(n.Node, &n.Acquire, fmt.Sprintf(`<td>%.0f&nbsp;%%</td><td>%.0f&nbsp;%%</td><td>%d</td>`, 100*n.Decides, 100*n.Last, n.Failed))
	}
	b.WriteString(`</table></div></section>`)
}

const pageStyle = `
:root{color-scheme:light dark;--bg:#fbfaf7;--fg:#1d2126;--soft:#646c76;--line:#dcdad3;--card:#fff;--a:#2f6fb5;--b:#c7651d;--c:#2a8a86;--red:#c22f2f;--safe:#1b7a4b;--warn:#9a6200}
@media(prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e7e5df;--soft:#98a1ab;--line:#30363d;--card:#1c2126;--a:#5c9fe6;--b:#ec9352;--c:#55bbb5;--red:#ff7066;--safe:#58c98d;--warn:#e2aa4e}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:24px 16px 48px}h1{font-size:1.6rem;line-height:1.25;margin:.2em 0 .3em}h2{font-size:1.1rem;margin:0}
.lead{margin:.2em 0 1em}.caption{color:var(--soft);font-size:.92rem;margin:.1em 0 .8em;max-width:80ch}
.cards{display:flex;flex-wrap:wrap;gap:12px}.card{flex:1 1 130px;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px}.card b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.card span{color:var(--soft);font-size:.86rem}
.advice{list-style:none;padding:0;margin:18px 0}.advice li{border-left:4px solid var(--soft);padding:2px 0 2px 12px;margin:8px 0;max-width:90ch}.advice b{font-size:.8rem;text-transform:uppercase;letter-spacing:.04em;margin-right:6px}
.advice .fine{border-color:var(--safe)}.fine b{color:var(--safe)}.advice .note{border-color:var(--warn)}.note b{color:var(--warn)}.advice .change{border-color:var(--red)}.change b{color:var(--red)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin:20px 0}.plot{overflow-x:auto}
svg{display:block;min-width:620px;width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--fg)}svg .soft{fill:var(--soft);font-size:11px}
.end{text-anchor:end}.mid{text-anchor:middle}.rule{stroke:var(--line)}.axis{stroke:var(--soft)}
.line{fill:none;stroke-width:2;stroke-linejoin:round}svg .ta{fill:var(--a)}svg .tb{fill:var(--b)}.la{stroke:var(--a)}.lb{stroke:var(--b)}.fa{fill:var(--a)}.fb{fill:var(--b)}.fc{fill:var(--c)}.pale{opacity:.35}.whisker{stroke:var(--c);stroke-width:2}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums;margin:6px 0 14px}td,th{padding:3px 14px 3px 0;text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left}th{color:var(--soft);font-weight:600}tr+tr td{border-top:1px solid var(--line)}
footer{color:var(--soft);font-size:.88rem;overflow-wrap:anywhere}code{font-size:.95em}
`
