package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Terminal describes where a live view is drawn.
type Terminal struct {
	Out   io.Writer
	Size  func() (width, height int) // asked before every drawing
	Color bool
}

// liveView redraws a table in place. It neither clears the screen nor uses
// another one, so the last state stays above the summary.
type liveView struct {
	Terminal
	drawn int        // lines on the screen
	plain *plainView // instead, if the terminal is too small
}

// The control sequences of a terminal that are used.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	lineUp     = "\x1b[%dA\r"
	eraseLine  = "\x1b[K" // to its end
	eraseBelow = "\x1b[J"
)

// NewLiveView makes a view that redraws itself on a terminal. If what there is to
// show does not fit, it writes lines instead, as NewPlainView does.
func NewLiveView(t Terminal) View { return &liveView{Terminal: t} }

func (v *liveView) update(s snapshot) {
	if v.plain != nil {
		v.plain.update(s)
		return
	}
	width, height := v.Size()
	if v.drawn == 0 && !fits(&s, width, height) {
		v.plain = NewPlainView(v.Out).(*plainView)
		v.plain.update(s)
		return
	}
	v.draw(v.frame(&s), width, height)
}

func (v *liveView) close(s snapshot) {
	if v.plain != nil {
		v.plain.close(s)
		return
	}
	v.update(s)
	io.WriteString(v.Out, showCursor) //nolint:errcheck // there is no other place to tell
}

// draw writes a frame over the last one, in a single write: no part of the
// screen is ever blank.
func (v *liveView) draw(frame []line, width, height int) {
	var b strings.Builder
	b.WriteString(hideCursor)
	if v.drawn > 0 {
		fmt.Fprintf(&b, lineUp, v.drawn)
	}
	// A terminal that became smaller meanwhile shows the upper left part: a line
	// that wraps or scrolls would be out of our reach.
	frame = frame[:min(len(frame), max(1, height-1))]
	for _, l := range frame {
		b.WriteString(l.render(width-1, v.Color)) // a full line would wait to wrap
		b.WriteString(eraseLine + "\n")
	}
	b.WriteString(eraseBelow)
	v.drawn = len(frame)
	io.WriteString(v.Out, b.String()) //nolint:errcheck // as above
}

// eventRows is how many lines of the timeline there will be.
const eventRows = 9

// fits says whether the table has room on the terminal, for its whole life.
func fits(s *snapshot, width, height int) bool {
	table := max(len(s.nodes), len(s.workers)) + 1
	return width > nodesWidth(s)+len(gap)+workersWidth(s) && height > 2+table+4+eventRows
}

// gap is between the two tables.
const gap = "   "

func nodesWidth(s *snapshot) int { return nodeNameWidth(s) + 31 }

func workersWidth(s *snapshot) int { return workerNameWidth(s) + 31 }

func nodeNameWidth(s *snapshot) int {
	width := len("NODE")
	for _, n := range s.nodes {
		width = max(width, utf8.RuneCountInString(n.name))
	}
	return width
}

// workerNameWidth is that of the last one's, whose number is the largest.
func workerNameWidth(s *snapshot) int { return len(s.workers[len(s.workers)-1].name) }

// frame is the whole picture.
func (v *liveView) frame(s *snapshot) []line {
	title := line{{"redlock demo", bold}, {"  " + s.title, plain}}
	clock := seconds(s.elapsed)
	if s.elapsed < s.planned {
		clock += " of " + seconds(s.planned)
	}
	title = append(title, span{strings.Repeat(" ", max(2, 79-title.width()-len(clock))) + clock, dim})
	frame := []line{title, nil}
	frame = append(frame, tables(s)...)
	frame = append(frame, nil, totals(s), staleness(s), nil)
	for _, e := range s.events {
		frame = append(frame, line{{fmt.Sprintf("%6s  ", seconds(e.at)), dim}, {e.text, plain}})
	}
	return frame
}

// tables sets the nodes' beside the workers'.
func tables(s *snapshot) []line {
	name, worker := nodeNameWidth(s), workerNameWidth(s)
	lines := []line{{
		{fmt.Sprintf("%-*s %-7s %7s %7s %6s", name, "NODE", "STATE", "GRANTED", "REFUSED", "FAILED"), dim},
		{gap + fmt.Sprintf("%-*s %-7s %5s %16s", worker, "WORKER", "STATE", "LOCKS", "LAST TOKEN"), dim},
	}}
	for i := range max(len(s.nodes), len(s.workers)) {
		row := line{{strings.Repeat(" ", nodesWidth(s)), plain}}
		if i < len(s.nodes) {
			row = nodeLine(s.nodes[i], name)
		}
		if i < len(s.workers) {
			row = append(append(row, span{gap, plain}), workerLine(s.workers[i], worker)...)
		}
		lines = append(lines, row)
	}
	return lines
}

func nodeLine(n nodeRow, name int) line {
	style := map[nodeState]style{up: green, killed: red, unheard: red, barred: yellow}[n.state]
	return line{
		{fmt.Sprintf("%-*s ", name, n.name), plain},
		{fmt.Sprintf("%-7s", n.state), style},
		{fmt.Sprintf(" %7d %7d %6d", n.granted, n.refused, n.failed), plain},
	}
}

func workerLine(w workerRow, name int) line {
	style := map[workerState]style{holding: green, paused: yellow, idle: dim}[w.state]
	token := "-"
	if w.token != 0 {
		token = fmt.Sprint(w.token)
	}
	return line{
		{fmt.Sprintf("%-*s ", name, w.name), plain},
		{fmt.Sprintf("%-7s", w.state), style},
		{fmt.Sprintf(" %5d %16s", w.locks, token), plain},
	}
}

func totals(s *snapshot) line {
	rate := float64(s.acquisitions) / max(0.1, s.elapsed.Seconds())
	overlaps := span{plural(s.overlaps, "overlap"), green}
	if s.overlaps > 0 {
		overlaps.style = red
	}
	return line{{fmt.Sprintf("%s, %.1f a second, ", plural(s.acquisitions, "acquisition"), rate), plain}, overlaps}
}

func staleness(s *snapshot) line {
	return line{{fmt.Sprintf("stale writes: %d refused by the fenced register, %d taken by the unfenced one",
		s.staleRefused, s.staleTaken), plain}}
}

// line is a line of text in several styles.
type line []span

type span struct {
	text  string
	style style
}

type style string

const (
	plain  style = ""
	bold   style = "\x1b[1m"
	dim    style = "\x1b[2m"
	red    style = "\x1b[1;31m"
	green  style = "\x1b[32m"
	yellow style = "\x1b[1;33m"
	reset        = "\x1b[0m"
)

func (l line) width() int {
	width := 0
	for _, s := range l {
		width += utf8.RuneCountInString(s.text)
	}
	return width
}

// render cuts the line to a width.
func (l line) render(width int, color bool) string {
	var b strings.Builder
	for _, s := range l {
		text := []rune(s.text)
		text = text[:min(len(text), max(0, width))]
		width -= len(text)
		if color && s.style != plain && len(text) > 0 {
			b.WriteString(string(s.style) + string(text) + reset)
		} else {
			b.WriteString(string(text))
		}
	}
	return b.String()
}
