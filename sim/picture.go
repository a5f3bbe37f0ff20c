package sim

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
	"time"
)

// picture draws a recorded run as SVG: a row for each client and node, one for
// the resource and one for the faults. Time runs to the right. Its scale is
// bent: idle stretches are short, so that moments that matter can be told apart.
type picture struct {
	b      strings.Builder
	rows   []string
	bars   []bar
	times  []Time
	at     []float64
	end    Time
	faults int
}

const (
	pictureWidth  = 1120
	pictureLeft   = 84
	pictureRight  = 16
	pictureTop    = 56
	rowHeight     = 34
	drawnClients  = 10
	drawnBars     = 600
	clientColours = 6
)

// draw gives the SVG, and the legend of the faults in it.
func (r *Report) draw() (svg string, legend []string) {
	w, p := r.world, &picture{}
	p.layOut(w)
	height := p.height()
	fmt.Fprintf(&p.b, `<svg viewBox="0 0 %d %d" width="%d" height="%d" role="img" xmlns="http://www.w3.org/2000/svg">`,
		pictureWidth, height, pictureWidth, height)
	fmt.Fprintf(&p.b, `<title>Who held the lock, and which node had granted to whom, over time</title><desc>%s</desc>%s`,
		html.EscapeString(r.Headline()), hatching)
	p.grid(height)
	for _, b := range p.bars {
		p.bar(b)
	}
	p.overlaps(w, height)
	if r.Told() {
		p.arrows(w.rec, r.slice())
	}
	marks := slices.Clone(w.rec.marks)
	slices.SortStableFunc(marks, func(a, b mark) int { return int(b2u(a.kind == "rejected")) - int(b2u(b.kind == "rejected")) })
	for _, m := range marks {
		if text := p.mark(m, height); text != "" {
			legend = append(legend, text)
		}
	}
	p.b.WriteString("</svg>")
	return p.b.String(), legend
}

func (p *picture) height() int { return pictureTop + rowHeight*len(p.rows) + 30 }

// arrows draws the messages of a causal slice: from what made a client, a node or
// the resource do something to where it did.
func (p *picture) arrows(rec *recording, story []Note) {
	for _, n := range story {
		y2, ok := p.y(n.Who)
		if !ok {
			continue
		}
		for _, c := range n.Causes {
			from := &rec.notes[c-1]
			y1, ok := p.y(from.Who)
			if !ok || from.Who == n.Who || from.Fault {
				continue
			}
			x1, x2 := p.x(from.At), p.x(n.At)
			y1, y2 := y1+rowHeight/2, y2+rowHeight/2
			if y1 < y2 {
				y1, y2 = y1+9, y2-9
			} else {
				y1, y2 = y1-9, y2+9
			}
			fmt.Fprintf(&p.b, `<line class="arrow" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" marker-end="url(#tip)"><title>%s %s, so %s %s</title></line>`,
				x1, y1, x2, y2, html.EscapeString(from.Who), html.EscapeString(from.Text), html.EscapeString(n.Who), html.EscapeString(n.Text))
		}
	}
}

const hatching = `<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" class="tip"/></marker><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2.2" height="6" class="ink"/></pattern></defs>`

// layOut finds the rows, and the scale of time.
func (p *picture) layOut(w *world) {
	for i := range min(drawnClients, w.cfg.Clients) {
		p.rows = append(p.rows, name("c", i))
	}
	for i := range w.cfg.Nodes {
		p.rows = append(p.rows, name("n", i))
	}
	p.rows = append(p.rows, "store")
	p.end = 1
	p.bars = mergeAsking(w.rec.bars)
	for _, m := range w.rec.marks {
		p.end = max(p.end, m.at)
	}
	for _, b := range p.bars {
		if b.kind == "lease" || b.kind == "asking" {
			p.end = max(p.end, b.from)
			if b.to < w.now {
				p.end = max(p.end, b.to)
			}
		}
	}
	if len(w.judge.violations) > 0 { // what comes long after it does not matter
		p.end = min(p.end, w.judge.violations[len(w.judge.violations)-1].At+2*Time(w.cfg.TTL))
	}
	if len(p.bars) > drawnBars {
		p.end = min(p.end, p.bars[drawnBars].from)
		p.bars = p.bars[:drawnBars]
	}
	p.end += p.end/40 + 1
	p.times = append(p.times, 0, p.end)
	for _, b := range p.bars {
		p.times = append(p.times, min(b.from, p.end), min(b.to, p.end))
	}
	for _, m := range w.rec.marks {
		p.times = append(p.times, min(m.at, p.end))
	}
	slices.Sort(p.times)
	p.times = slices.Compact(p.times)
	p.bend()
}

// bend gives each stretch between two moments a width that grows with its
// logarithm.
func (p *picture) bend() {
	p.at = make([]float64, len(p.times))
	for i := 1; i < len(p.times); i++ {
		gap := float64(p.times[i]-p.times[i-1]) / float64(50*time.Microsecond)
		p.at[i] = p.at[i-1] + math.Log2(1+gap)
	}
	scale := float64(pictureWidth-pictureLeft-pictureRight) / max(1e-9, p.at[len(p.at)-1])
	for i := range p.at {
		p.at[i] = pictureLeft + p.at[i]*scale
	}
}

func (p *picture) x(t Time) float64 {
	i, found := slices.BinarySearch(p.times, min(t, p.end))
	if found || i == 0 {
		return p.at[min(i, len(p.at)-1)]
	}
	part := float64(t-p.times[i-1]) / float64(p.times[i]-p.times[i-1])
	return p.at[i-1] + part*(p.at[i]-p.at[i-1])
}

func (p *picture) y(row string) (float64, bool) {
	i := slices.Index(p.rows, row)
	return float64(pictureTop + rowHeight*i), i >= 0
}

// grid draws the rows' names and the time.
func (p *picture) grid(height int) {
	for i, row := range p.rows {
		y := pictureTop + rowHeight*i
		label := row
		if row == "store" {
			label = "resource"
		}
		fmt.Fprintf(&p.b, `<line class="rule" x1="%d" x2="%d" y1="%d" y2="%d"/><text class="row" x="%d" y="%d">%s</text>`,
			pictureLeft, pictureWidth-pictureRight, y+rowHeight, y+rowHeight, pictureLeft-8, y+21, label)
	}
	last := -1e9
	for i, t := range p.times {
		if i > 0 && (p.at[i]-last < 84 || p.at[i] > pictureWidth-60 && p.at[i]-last < 130) {
			continue
		}
		last = p.at[i]
		anchor := "middle"
		if p.at[i] > pictureWidth-60 {
			anchor = "end"
		}
		fmt.Fprintf(&p.b, `<line class="tick" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="time" text-anchor="%s" x="%.1f" y="%d">%s</text>`,
			p.at[i], p.at[i], pictureTop, height-24, anchor, p.at[i], height-8, shortTime(t))
	}
}

// shortTime writes a time with four digits or so.
func shortTime(t Time) string {
	d := time.Duration(t)
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 1000).String()
		}
	}
	return d.String()
}

// mergeAsking makes one bar of the attempts of one wait.
func mergeAsking(bars []bar) []bar {
	var out []bar
	latest := map[int]int{}
	for _, b := range bars {
		i, seen := latest[b.client]
		if b.kind == "asking" && seen && out[i].kind == "asking" {
			out[i].to = b.to
			continue
		}
		if b.kind == "asking" || b.kind == "lease" {
			latest[b.client] = len(out)
		}
		out = append(out, b)
	}
	return out
}

func (p *picture) bar(b bar) {
	y, ok := p.y(b.row)
	if !ok || b.from > p.end {
		return
	}
	x1, x2 := p.x(b.from), p.x(min(b.to, p.end))
	class, label, height := b.kind, b.label, 22.0
	switch b.kind {
	case "lease", "grant", "asking", "aside":
		class += fmt.Sprintf(" k%d", b.client%clientColours)
	}
	switch b.kind {
	case "grant":
		label = name("c", b.client) + " " + label
	case "asking":
		label, height = "", 8
	case "aside":
		height = 12
	case "pause":
		label = "paused"
	case "down":
		label = "down"
	case "quarantine":
		label, height = "", 5
	}
	top := y + (rowHeight-height)/2
	if b.kind == "quarantine" {
		top = y + rowHeight - height - 1
	}
	fmt.Fprintf(&p.b, `<g><title>%s %s, %s to %s</title><rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3"/>`,
		html.EscapeString(b.kind), html.EscapeString(label), shortTime(b.from), shortTime(min(b.to, p.end)), class, x1, top, max(1.5, x2-x1), height)
	if b.kind == "asking" || b.kind == "aside" || b.kind == "pause" || b.kind == "quarantine" {
		fmt.Fprintf(&p.b, `<rect fill="url(#hatch)" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="3"/>`, x1, top, max(1.5, x2-x1), height)
	}
	if label != "" && x2-x1 > 7*float64(len(label)) {
		fmt.Fprintf(&p.b, `<text class="in in-%s" x="%.1f" y="%.1f">%s</text>`, b.kind, x1+8, y+21, html.EscapeString(label))
	}
	p.b.WriteString("</g>")
}

// overlaps puts a band where two leases are valid at once.
func (p *picture) overlaps(w *world, height int) {
	leases := slices.DeleteFunc(slices.Clone(w.rec.bars), func(b bar) bool { return b.kind != "lease" })
	for i, a := range leases {
		for _, b := range leases[i+1:] {
			if from, to := max(a.from, b.from), min(a.to, b.to); from < to && from < p.end {
				x := p.x(from)
				fmt.Fprintf(&p.b, `<rect class="band" x="%.1f" y="%d" width="%.1f" height="%d"><title>two leases at once</title></rect>`,
					x, pictureTop, max(3, p.x(to)-x), height-pictureTop-24)
			}
		}
	}
}

// mark draws a moment, and gives the legend's line of a fault.
func (p *picture) mark(m mark, height int) (legend string) {
	if m.at > p.end {
		return ""
	}
	x := p.x(m.at)
	switch m.kind {
	case "fault":
		p.faults++
		lane := 14 + 15*(p.faults%3)
		fmt.Fprintf(&p.b, `<line class="fault" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="flag" x="%.1f" y="%d">⚑%d<title>%s</title></text>`,
			x, x, lane, height-24, x+2, lane, p.faults, html.EscapeString(m.label))
		return fmt.Sprintf("⚑%d at %s: %s", p.faults, shortTime(m.at), m.label)
	case "accepted", "rejected":
		y, _ := p.y(m.row)
		sign := "●"
		if m.kind == "rejected" {
			sign = "✖"
		}
		fmt.Fprintf(&p.b, `<text class="%s" x="%.1f" y="%.1f">%s<title>token %s %s</title></text>`, m.kind, x-4, y+22, sign, m.label, m.kind)
	case "violation":
		fmt.Fprintf(&p.b, `<line class="breach" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>%s</title></line>`,
			x, x, pictureTop, height-24, html.EscapeString(m.label))
	}
	return ""
}

// Time is the note's time, for people.
func (n Note) Time() string { return shortTime(n.At) }
