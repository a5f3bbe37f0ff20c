package quorumbench

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Text is a latency with three digits that count.
func Text(d time.Duration) string {
	unit, name := time.Second, "s"
	switch {
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d)
	case d < time.Millisecond:
		unit, name = time.Microsecond, "µs"
	case d < time.Second:
		unit, name = time.Millisecond, "ms"
	case d >= 100*time.Second:
		return d.Round(time.Second).String()
	}
	v := float64(d) / float64(unit)
	digits := 2
	switch {
	case v >= 100:
		digits = 0
	case v >= 10:
		digits = 1
	}
	number := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return number + " " + name
}

func (d Duration) text() string { return Text(time.Duration(d)) }

// WriteText writes the report for people at a terminal that is so many columns wide.
func (r *Report) WriteText(out io.Writer, width int) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "%s\n\n", r.Headline())
	r.writeLatencies(b)
	r.writeNodes(b)
	r.writeHistogram(b, width)
	r.writeAdvice(b)
	fmt.Fprintf(b, "\n%s\n", r.cleanliness())
	_, err := io.WriteString(out, b.String())
	return err
}

// Headline is the run in a sentence.
func (r *Report) Headline() string {
	text := fmt.Sprintf("%d locks in %s on %d nodes with %s and %s: %.0f a second",
		r.Locks, r.Elapsed.text(), r.Nodes, count(r.Concurrency, "worker"), count(r.Keys, "key"), r.PerSecond)
	if r.Failed > 0 {
		text += fmt.Sprintf("; %d were not to be had", r.Failed)
	}
	if r.Interrupted {
		text += "; interrupted"
	}
	return text + "."
}

func (r *Report) writeLatencies(b *strings.Builder) {
	rows := [][]string{{"", "p50", "p90", "p99", "p99.9", "max"}}
	for _, row := range r.latencyRows() {
		l := row.latency
		if l.Count > 0 {
			rows = append(rows, []string{row.name, l.P50.text(), l.P90.text(), l.P99.text(), l.P999.text(), l.Max.text()})
		}
	}
	writeTable(b, rows)
}

type latencyRow struct {
	name    string
	latency *Latency
}

func (r *Report) latencyRows() []latencyRow {
	return []latencyRow{
		{"Lock", &r.Lock},
		{"Unlock", &r.Unlock},
		{fmt.Sprintf("%d of %d nodes granted", r.Quorum, r.Nodes), &r.Majority},
		{"all nodes answered", &r.All},
		{"saved by not waiting for all", &r.Saved},
		{"majority without its fastest node", &r.OneGone},
	}
}

func (r *Report) writeNodes(b *strings.Builder) {
	rows := [][]string{{"NODE", "acquire p50", "p99", "p99.9", "max", "release p50", "p99", "decides", "is last", "failed"}}
	for i := range r.PerNode {
		n := &r.PerNode[i]
		row := []string{n.Node, "-", "-", "-", "-", "-", "-"}
		if a := n.Acquire; a.Count > 0 {
			row = []string{n.Node, a.P50.text(), a.P99.text(), a.P999.text(), a.Max.text(), n.Release.P50.text(), n.Release.P99.text()}
		}
		rows = append(rows, append(row, percent(n.Decides), percent(n.Last), fmt.Sprint(n.Failed)))
	}
	b.WriteString("\n")
	writeTable(b, rows)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// writeTable puts the first column to the left and the numbers to the right.
func writeTable(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		b.WriteString("\n")
	}
}

const (
	leastWidth = 40
	mostWidth  = 120
)

// writeHistogram draws the latencies of Lock, each bar from a fraction to the next.
func (r *Report) writeHistogram(b *strings.Builder, width int) {
	bars := fewer(r.Histogram)
	if len(bars) == 0 {
		return
	}
	b.WriteString("\nLock took\n")
	width = max(leastWidth, min(width, mostWidth))
	var most int64
	for _, bar := range bars {
		most = max(most, bar.Count)
	}
	const labels = 13 + 10 // "from" on the left, the count on the right
	for _, bar := range bars {
		drawn := blocks(float64(bar.Count)/float64(most)*float64(width-labels), width-labels)
		if bar.Count > 0 && drawn == "" {
			drawn = "▏"
		}
		pad := strings.Repeat(" ", width-labels-utf8.RuneCountInString(drawn))
		from := bar.From.text()
		line := fmt.Sprintf("%s%s │%s%s %d", strings.Repeat(" ", max(0, 10-utf8.RuneCountInString(from))), from, drawn, pad, bar.Count)
		if bar.Count == 0 {
			line = strings.TrimRight(strings.TrimSuffix(line, "0"), " ")
		}
		fmt.Fprintln(b, line)
	}
}

// mostBars is how many rows a histogram has at most, so that it fits on a screen.
const mostBars = 24

// fewer joins neighbours until there are few enough bars.
func fewer(bars []Bar) []Bar {
	for len(bars) > mostBars {
		joined := make([]Bar, 0, len(bars)/2+1)
		for i := 0; i < len(bars); i += 2 {
			bar := bars[i]
			if i+1 < len(bars) {
				bar.To, bar.Count = bars[i+1].To, bar.Count+bars[i+1].Count
			}
			joined = append(joined, bar)
		}
		bars = joined
	}
	return bars
}

// blocks is a bar of so many columns, to an eighth.
func blocks(columns float64, most int) string {
	eighths := min(int(columns*8+0.5), most*8)
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

func (r *Report) writeAdvice(b *strings.Builder) {
	b.WriteString("\n")
	for _, a := range r.Advice {
		fmt.Fprintf(b, "%-7s %s\n", a.Kind, a.Text)
	}
}

// cleanliness says what is left on the nodes.
func (r *Report) cleanliness() string {
	counters := fmt.Sprintf("The counters of %s that begin with %q stay until the nodes forget them.", count(r.Keys, "key"), r.Prefix)
	switch {
	case r.LeftLocked > 0:
		return fmt.Sprintf("%s left on nodes, until the TTL of %s ends. %s", count(r.LeftLocked, "lock"), r.TTL.text(), counters)
	case r.LeftUnknown > 0:
		return fmt.Sprintf("Nothing is locked on the nodes that answer. %s could not be looked at: whatever may be locked there is free after the TTL of %s. %s",
			count(r.LeftUnknown, "key of a node"), r.TTL.text(), counters)
	}
	return "Nothing is left locked. " + counters
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasPrefix(what, "key of"):
		return fmt.Sprintf("%d keys of nodes", n)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
