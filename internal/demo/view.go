package demo

import (
	"fmt"
	"io"
	"time"
)

// View shows a demo while it runs. NewPlainView and NewLiveView make one.
type View interface {
	// update shows the present state; it is called ten times a second.
	update(s snapshot)

	// close shows the last state and leaves the terminal as it was found.
	close(s snapshot)
}

type silent struct{}

func (silent) update(snapshot) {}
func (silent) close(snapshot)  {}

// plainView writes lines, for logs and pipes: each event when it happens, and how
// things stand once a second.
type plainView struct {
	out    io.Writer
	opened bool
	events int           // shown so far
	next   time.Duration // the next progress line is due
}

// NewPlainView makes a view that only ever appends lines to out.
func NewPlainView(out io.Writer) View { return &plainView{out: out, next: time.Second} }

func (v *plainView) update(s snapshot) {
	if !v.opened {
		v.opened = true
		fmt.Fprintf(v.out, "redlock demo: %s, %s\n", s.title, seconds(s.planned))
	}
	for ; v.events < len(s.events); v.events++ {
		fmt.Fprintf(v.out, "%7s  %s\n", seconds(s.events[v.events].at), s.events[v.events].text)
	}
	if s.elapsed >= v.next {
		v.next = s.elapsed.Truncate(time.Second) + time.Second
		fmt.Fprintf(v.out, "%7s  %s\n", seconds(s.elapsed), s.standing())
	}
}

func (v *plainView) close(s snapshot) {
	v.next = s.elapsed + time.Second // the summary follows
	v.update(s)
}

// standing is how things stand, in one line.
func (s *snapshot) standing() string {
	voting := 0
	for _, n := range s.nodes {
		if n.state == up {
			voting++
		}
	}
	return fmt.Sprintf("%d of %d nodes vote, %s, %s", voting, len(s.nodes),
		plural(s.acquisitions, "acquisition"), plural(s.overlaps, "overlap"))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func millis(d time.Duration) string {
	decimals := 1
	if d >= 10*time.Millisecond {
		decimals = 0
	}
	return fmt.Sprintf("%.*f ms", decimals, float64(d)/float64(time.Millisecond))
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func times(n int64) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}
