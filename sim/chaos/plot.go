package chaos

import (
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// window judges the seconds about the first breach, or the last ones, again, for a
// picture.
func (res *Result) window() sim.Report {
	const before, after = 6 * time.Second, 2 * time.Second
	end := res.Record.Length
	key := ""
	if v := res.Report.Broken(); v != nil {
		end = time.Duration(v.At) + after
	}
	var history []sim.Deed
	open := map[uint64]bool{}
	for _, d := range res.Record.History {
		if key == "" && d.Key != "" {
			key = d.Key
		}
		if d.At < end-before-after || d.At > end || d.Key != "" && d.Key != key {
			continue
		}
		if d.Kind == sim.Asks {
			open[d.Lease] = true
		}
		if d.Lease == 0 || open[d.Lease] {
			d.At -= end - before - after
			d.Until = max(0, d.Until-(end-before-after))
			history = append(history, d)
		}
	}
	cfg := *res.Record.Config
	cfg.Record = true
	r := sim.Judge(cfg, res.Record.Epoch, history)
	r.Verdict, r.Violations, r.Stats = res.Report.Verdict, res.Report.Violations, res.Report.Stats
	return r
}

const (
	plotWidth  = 1120
	plotHeight = 96
	plotLeft   = 120
	plotRight  = 16
)

// plot draws what each client's process took of the machine over the run, a strip
// for each thing, and when there were faults.
func (res *Result) plot() string {
	strips := len(metricsOf) + 1
	b := &strings.Builder{}
	fmt.Fprintf(b, `<svg viewBox="0 0 %d %d" role="img" xmlns="http://www.w3.org/2000/svg"><title>What the clients took of the machine, over time</title>`,
		plotWidth, strips*plotHeight+40)
	for i := range metricsOf {
		res.strip(b, &metricsOf[i], i*plotHeight)
	}
	res.faultStrip(b, len(metricsOf)*plotHeight)
	for i := range 11 {
		at := res.Record.Length * time.Duration(i) / 10
		fmt.Fprintf(b, `<text class="time" text-anchor="middle" x="%.1f" y="%d">%v</text>`, res.x(at), strips*plotHeight+16, at.Round(time.Second))
	}
	b.WriteString(`</svg>`)
	return b.String()
}

func (res *Result) x(at time.Duration) float64 {
	return plotLeft + float64(at)/float64(max(1, res.Record.Length))*(plotWidth-plotLeft-plotRight)
}

func (res *Result) strip(b *strings.Builder, m *metric, top int) {
	most := 1.0
	for i := range res.Record.Samples {
		most = max(most, m.of(&res.Record.Samples[i]))
	}
	fmt.Fprintf(b, `<text class="row" x="%d" y="%d">%s</text><text class="time" text-anchor="end" x="%d" y="%d">up to %.0f %s</text>`+
		`<line class="rule" x1="%d" x2="%d" y1="%d" y2="%d"/>`, plotLeft-8, top+44, html.EscapeString(m.name), plotLeft-8, top+60, most, m.unit,
		plotLeft, plotWidth-plotRight, top+plotHeight, top+plotHeight)
	for c := range res.Record.Config.Clients {
		var points []string
		for i := range res.Record.Samples {
			if s := &res.Record.Samples[i]; s.Client == c {
				points = append(points, fmt.Sprintf("%.1f,%.1f", res.x(s.At), float64(top+plotHeight)-m.of(s)/most*(plotHeight-16)))
			}
		}
		fmt.Fprintf(b, `<polyline class="line l%d" points="%s"><title>c%d</title></polyline>`, c%6, strings.Join(points, " "), c+1)
	}
}

// faultStrip has a mark for each fault, and a bar for how long it lasted.
func (res *Result) faultStrip(b *strings.Builder, top int) {
	fmt.Fprintf(b, `<text class="row" x="%d" y="%d">faults</text>`, plotLeft-8, top+44)
	lane := 0
	for _, d := range res.Record.History {
		if d.Kind != sim.Strikes {
			continue
		}
		f, err := sim.ParseFault(d.Fault)
		if err != nil {
			continue
		}
		lane = (lane + 1) % 8
		x := res.x(d.At)
		fmt.Fprintf(b, `<rect class="band" x="%.1f" y="%d" width="%.1f" height="8"><title>%s</title></rect>`,
			x, top+12+9*lane, max(1.5, res.x(d.At+f.For)-x), html.EscapeString(strings.TrimPrefix(d.Fault, "at 0s ")))
	}
}
