package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/workloads"
)

// table is what was measured under one workload, as text.
type table struct {
	head []string
	rows [][]string
}

// tableOf gives medians over the rounds, and ratios to redsync's as medians of the
// ratios within a round. It has no rows if nobody was measured.
func (r *Results) tableOf(w *workloads.Workload) table {
	t := table{head: []string{"locker"}}
	for _, c := range w.Column {
		t.head = append(t.head, c.Head)
		if c.Ratio {
			t.head = append(t.head, "÷ redsync")
		}
	}
	for _, peer := range r.peersOf(w.Name) {
		row := []string{peer}
		for _, c := range w.Column {
			row = append(row, number(r.median(w.Name, peer, c.Figure), c.Digits))
			if c.Ratio {
				row = append(row, ratioText(r.ratio(w.Name, peer, lockers.Redsync, c.Figure)))
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// WriteText writes all tables, for people at a terminal.
func (r *Results) WriteText(out io.Writer) {
	for _, w := range workloads.All() {
		if t := r.tableOf(&w); len(t.rows) > 0 {
			fmt.Fprintf(out, "\n%s (%s)\n\n", w.Title, w.Name)
			t.writeText(out)
		}
	}
	r.writeRemarks(out, "")
}

func (t *table) writeText(out io.Writer) {
	widths := make([]int, len(t.head))
	lines := append([][]string{t.head}, t.rows...)
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("  " + cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
}

// WriteMarkdown writes the tables that docs/benchmarks.md has.
func (r *Results) WriteMarkdown(out io.Writer) {
	m := r.Machine
	fmt.Fprintf(out, "Measured %s in %.0f s on %d cores (%s), %s/%s, %s, Redis %s. Medians of %d rounds.\n",
		r.Started.UTC().Format("2006-01-02 15:04 MST"), r.Took, m.Cores, m.CPU, m.OS, m.Arch, m.Go, m.Redis, r.Config.Rounds)
	for _, w := range workloads.All() {
		t := r.tableOf(&w)
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(out, "\n### %s\n\n", w.Title)
		fmt.Fprintf(out, "| %s |\n|---|%s\n", strings.Join(t.head, " | "), strings.Repeat("--:|", len(t.head)-1))
		for _, row := range t.rows {
			fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
		}
	}
	r.writeRemarks(out, "- ")
	fmt.Fprintf(out, "\n### What is demanded\n\n| what | measured | demanded | |\n|---|--:|--:|---|\n")
	for _, v := range r.Check() {
		fmt.Fprintf(out, "| %s | %s | %s %s | %s |\n", v.What, v.measured(), v.relation(), v.limit(), v.verdict())
	}
}

// writeRemarks says what no table has room for.
func (r *Results) writeRemarks(out io.Writer, bullet string) {
	var remarks []string
	remarks = append(remarks, r.Absent...)
	for _, run := range r.Runs {
		where := fmt.Sprintf("%s, %s, round %d: ", run.Workload, run.Peer, run.Round+1)
		if run.Error != "" {
			remarks = append(remarks, where+"failed: "+run.Error)
		}
		for _, p := range run.Problems {
			remarks = append(remarks, where+p)
		}
	}
	if len(remarks) > 0 {
		fmt.Fprintln(out)
	}
	for _, remark := range remarks {
		fmt.Fprintf(out, "%s%s\n", bullet, strings.ReplaceAll(remark, "\n", "; "))
	}
}

func number(v float64, digits int) string {
	if math.IsNaN(v) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// ratioText has three digits that count.
func ratioText(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case v >= 0.1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}
