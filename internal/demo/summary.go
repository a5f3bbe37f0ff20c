package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Summary is what came of a demo. It is also the form of `redlock demo --json`.
type Summary struct {
	OK       bool     `json:"ok"` // no check failed
	Nodes    []string `json:"nodes"`
	Embedded bool     `json:"embedded"`
	Workers  int      `json:"workers"`

	Elapsed      time.Duration `json:"-"`
	Acquisitions int           `json:"acquisitions"`
	Overlaps     int           `json:"overlaps"`
	StaleRefused int           `json:"stale_writes_refused"`
	StaleTaken   int           `json:"stale_writes_taken"`

	Checks []Check `json:"checks"`
}

// Check is one thing that the demo set out to show.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"` // with the figure
}

// Status says what came of a check.
type Status string

// The outcomes of a check.
const (
	Held    Status = "ok"
	Failed  Status = "FAILED"
	Skipped Status = "skipped"
)

// summarize looks back at a demo whose Lockers are closed.
func (d *demo) summarize(ctx context.Context, elapsed time.Duration) Summary {
	s := Summary{
		Nodes: names(d.audit), Embedded: d.servers != nil, Workers: d.Workers, Elapsed: elapsed,
		Acquisitions: d.ledger.acquisitions(), Overlaps: d.ledger.overlaps(),
		StaleRefused: d.fenced.staleWrites(), StaleTaken: d.unfenced.staleWrites(),
	}
	s.Checks = []Check{
		s.checkAcquisitions(), s.checkOverlaps(), checkOrder(s.Acquisitions, d.ledger.disordered()),
		d.outage.check(), d.pause.check(d.ttl / 2), s.checkRefused(), s.checkTaken(), d.checkLeftovers(ctx),
	}
	s.OK = s.failed() == 0
	return s
}

func (s *Summary) failed() int {
	n := 0
	for _, c := range s.Checks {
		if c.Status == Failed {
			n++
		}
	}
	return n
}

func (s *Summary) checkAcquisitions() Check {
	return check("acquisitions", s.Acquisitions > 0, "%d by %d workers in %s, %.1f a second",
		s.Acquisitions, s.Workers, seconds(s.Elapsed), float64(s.Acquisitions)/max(0.1, s.Elapsed.Seconds()))
}

func (s *Summary) checkOverlaps() Check {
	if s.Overlaps > 0 {
		return check("overlaps", false, "%s: two workers held the lock at one instant", times(int64(s.Overlaps)))
	}
	return check("overlaps", true, "0: no two workers ever held the lock at one instant")
}

func checkOrder(tokens, disordered int) Check {
	if disordered > 0 {
		return check("token order", false, "%d of %d tokens not larger than all before", disordered, tokens)
	}
	return check("token order", true, "%s, each larger than the one before", plural(tokens, "token"))
}

func (s *Summary) checkRefused() Check {
	return check("fenced writes", s.StaleRefused > 0, "%s refused, newer data kept", plural(s.StaleRefused, "stale write"))
}

func (s *Summary) checkTaken() Check {
	return check("unfenced writes", s.StaleTaken > 0, "%s taken, newer data lost: why to fence", plural(s.StaleTaken, "stale write"))
}

func check(name string, held bool, detail string, args ...any) Check {
	c := Check{Name: name, Status: Held, Detail: fmt.Sprintf(detail, args...)}
	if !held {
		c.Status = Failed
	}
	return c
}

// WriteText writes the summary for people, a line for each check.
func (s *Summary) WriteText(w io.Writer, color bool) error {
	var b strings.Builder
	b.WriteString("\n")
	for _, c := range s.Checks {
		style := map[Status]style{Held: green, Failed: red, Skipped: dim}[c.Status]
		l := line{{fmt.Sprintf("%-7s", c.Status), style}, {fmt.Sprintf("  %-15s  %s", c.Name, c.Detail), plain}}
		b.WriteString(l.render(l.width(), color) + "\n")
	}
	verdict := line{{"Every check held.", bold}}
	if n := s.failed(); n > 0 {
		verdict = line{{plural(n, "check") + " FAILED.", red}}
	}
	b.WriteString("\n" + verdict.render(verdict.width(), color) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// MarshalJSON adds the duration, in the unit that JSON needs in its name.
func (s Summary) MarshalJSON() ([]byte, error) {
	type fields Summary // without this method
	return json.Marshal(struct {
		fields
		ElapsedMS int64 `json:"elapsed_ms"`
	}{fields(s), s.Elapsed.Milliseconds()})
}
