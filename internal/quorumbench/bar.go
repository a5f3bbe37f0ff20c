package quorumbench

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// ProgressBar draws progress on a terminal, in one line, which it takes away at the end.
type ProgressBar struct {
	out   io.Writer
	width int
}

// NewProgressBar makes a bar for a terminal that is so many columns wide.
func NewProgressBar(out io.Writer, width int) *ProgressBar {
	return &ProgressBar{out: out, width: width}
}

const (
	startOfLine = "\r"
	eraseLine   = "\x1b[K"
	widestBar   = 40
)

// Draw is for Config.Progress.
func (b *ProgressBar) Draw(p Progress) {
	if p.Done {
		fmt.Fprint(b.out, startOfLine+eraseLine)
		return
	}
	fmt.Fprint(b.out, startOfLine+b.line(p)+eraseLine)
}

// line is the bar and as much of the numbers as there is room for.
func (b *ProgressBar) line(p Progress) string {
	numbers := fmt.Sprintf(" %3.0f %%  %d locks", 100*p.share(), p.Locks)
	if p.Locks > 0 {
		numbers += "  p50 " + Text(p.P50)
	}
	if p.Failed > 0 {
		numbers += fmt.Sprintf("  %d failed", p.Failed)
	}
	room := min(widestBar, b.width-1-utf8.RuneCountInString(numbers))
	if room < 1 {
		return string([]rune(numbers)[:max(0, min(utf8.RuneCountInString(numbers), b.width-1))])
	}
	bar := blocks(p.share()*float64(room), room)
	return bar + strings.Repeat("·", room-utf8.RuneCountInString(bar)) + numbers
}

// share is how much of the run is over, by whichever bound is nearer.
func (p Progress) share() float64 {
	share := 0.0
	if p.For > 0 {
		share = float64(p.Elapsed) / float64(p.For)
	}
	if p.Count > 0 {
		share = max(share, float64(p.Locks+p.Failed)/float64(p.Count))
	}
	return min(share, 1)
}
