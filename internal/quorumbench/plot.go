package quorumbench

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// The measures of a picture, in its own units.
const (
	plotWidth  = 900.0
	plotLeft   = 78.0
	plotRight  = 18.0
	plotTop    = 12.0
	plotBottom = 34.0
)

// canvas is an SVG picture under way.
type canvas struct {
	strings.Builder
	height float64
}

func newCanvas(height float64, label string) *canvas {
	c := &canvas{height: height}
	fmt.Fprintf(c, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, height, html.EscapeString(label))
	return c
}

func (c *canvas) done() string { return c.String() + "</svg>" }

func (c *canvas) text(x, y float64, class, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, html.EscapeString(text))
}

func (c *canvas) rule(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`, x1, y1, x2, y2, class)
}

// box draws a rectangle that a pointer can ask about.
func (c *canvas) box(x, y, width, height float64, class, about string) {
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" class="%s"><title>%s</title></rect>`,
		x, y, max(width, 0.8), max(height, 0), class, html.EscapeString(about))
}

func (c *canvas) path(points [][2]float64, class string) {
	c.WriteString(`<polyline class="line ` + class + `" points="`)
	for _, p := range points {
		fmt.Fprintf(c, "%.1f,%.1f ", p[0], p[1])
	}
	c.WriteString(`"/>`)
}

// scale puts values on a line of the picture by their logarithm.
type scale struct {
	low, high float64 // log10 of the ends' values
	from, to  float64 // where the ends are
}

// scaleFor holds all values. It is at least a fivefold wide.
func scaleFor(from, to float64, values ...Duration) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		l := math.Log10(float64(max(v, Duration(shortest))))
		low, high = min(low, l), max(high, l)
	}
	low, high = low-0.05, high+0.05
	if missing := 0.7 - (high - low); missing > 0 {
		low, high = low-missing/2, high+missing/2
	}
	return scale{low, high, from, to}
}

func (s scale) at(d Duration) float64 {
	l := math.Log10(float64(max(d, Duration(shortest))))
	return s.from + (s.to-s.from)*(l-s.low)/(s.high-s.low)
}

// ticks are round values: 1, 2 and 5 times the powers of ten, or only those if there
// is no room.
func (s scale) ticks() (all []Duration) {
	steps := []float64{1, 2, 5}
	if s.high-s.low > 2.5 {
		steps = steps[:1]
	}
	for power := math.Floor(s.low); power <= s.high; power++ {
		for _, step := range steps {
			v := step * math.Pow(10, power)
			if l := math.Log10(v); l >= s.low && l <= s.high {
				all = append(all, Duration(math.Round(v)))
			}
		}
	}
	return all
}

// latencyAxis draws a vertical scale of latencies.
func (c *canvas) latencyAxis(s scale) {
	for _, t := range s.ticks() {
		y := s.at(t)
		c.rule(plotLeft, y, plotWidth-plotRight, y, "rule")
		c.text(plotLeft-8, y+4, "soft end", t.text())
	}
}

// acrossAxis draws a horizontal one at the picture's foot.
func (c *canvas) acrossAxis(s scale) {
	for _, t := range s.ticks() {
		x := s.at(t)
		c.rule(x, plotTop, x, c.height-plotBottom, "rule")
		c.text(x, c.height-plotBottom+18, "soft mid", t.text())
	}
}

// percentilePlot has the percentiles of Lock on a scale that has room for the rare.
func (r *Report) percentilePlot() string {
	if len(r.Percentiles) < 3 {
		return ""
	}
	c := newCanvas(300, "Percentiles of Lock")
	var values []Duration
	rarest := 1.0 // -log10 of the rest
	for _, p := range r.Percentiles {
		values = append(values, p.Value)
		if p.Percentile < 100 {
			rarest = max(rarest, -math.Log10(1-p.Percentile/100))
		}
	}
	s := scaleFor(c.height-plotBottom, plotTop, values...)
	c.latencyAxis(s)
	width := plotWidth - plotLeft - plotRight
	rarest += 0.25 // where the slowest of all is drawn
	across := func(percentile float64) float64 {
		if percentile >= 100 {
			return plotLeft + width
		}
		return plotLeft + width*-math.Log10(1-percentile/100)/rarest
	}
	for _, p := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		if x := across(p); x <= plotLeft+width-80 {
			c.rule(x, plotTop, x, c.height-plotBottom, "rule")
			c.text(x, c.height-plotBottom+18, "soft mid", fmt.Sprintf("%g %%", p))
		}
	}
	var line [][2]float64
	for _, p := range r.Percentiles {
		line = append(line, [2]float64{across(p.Percentile), s.at(p.Value)})
	}
	c.path(line, "la")
	for i, p := range r.Percentiles {
		fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="3.5" class="fa"><title>%g %% within %s</title></circle>`, line[i][0], line[i][1], p.Percentile, p.Value.text())
	}
	c.text(plotLeft+width, c.height-plotBottom+18, "soft end", "slowest")
	return c.done()
}

// histogramPlot has the square roots of counts, so that a few are seen beside many.
func (r *Report) histogramPlot() string {
	if len(r.Histogram) == 0 {
		return ""
	}
	c := newCanvas(240, "Histogram of Lock")
	first, last := r.Histogram[0], r.Histogram[len(r.Histogram)-1]
	s := scaleFor(plotLeft, plotWidth-plotRight, first.From, last.To)
	c.acrossAxis(s)
	var most int64
	for _, b := range r.Histogram {
		most = max(most, b.Count)
	}
	tall := c.height - plotTop - plotBottom
	for _, b := range r.Histogram {
		if b.Count == 0 {
			continue
		}
		h := max(1.5, tall*math.Sqrt(float64(b.Count)/float64(most)))
		x := s.at(b.From)
		c.box(x+0.5, c.height-plotBottom-h, s.at(b.To)-x-1, h, "fa", fmt.Sprintf("%d locks took %s to %s", b.Count, b.From.text(), b.To.text()))
	}
	c.text(plotLeft-8, plotTop+8, "soft end", fmt.Sprint(most))
	c.rule(plotLeft, c.height-plotBottom, plotWidth-plotRight, c.height-plotBottom, "axis")
	return c.done()
}

// savingPlot compares the majority's latency with that of the last node.
func (r *Report) savingPlot() string {
	if r.Majority.Count == 0 {
		return ""
	}
	rows := []struct {
		name          string
		majority, all Duration
	}{
		{"p50", r.Majority.P50, r.All.P50},
		{"p90", r.Majority.P90, r.All.P90},
		{"p99", r.Majority.P99, r.All.P99},
		{"p99.9", r.Majority.P999, r.All.P999},
	}
	const rowHeight = 38.0
	c := newCanvas(plotTop+rowHeight*float64(len(rows))+plotBottom, "The majority and all nodes")
	values := []Duration{r.Majority.P50 * 2 / 3}
	for _, row := range rows {
		values = append(values, row.majority, row.all)
	}
	s := scaleFor(plotLeft, plotWidth-plotRight-120, values...)
	c.acrossAxis(s)
	for i, row := range rows {
		y := plotTop + rowHeight*float64(i) + 4
		c.text(plotLeft-8, y+rowHeight/2, "end", row.name)
		c.box(plotLeft, y+4, s.at(row.all)-plotLeft, rowHeight-14, "fb pale", "all nodes: "+row.all.text())
		c.box(plotLeft, y+4, s.at(row.majority)-plotLeft, rowHeight-14, "fa", "majority: "+row.majority.text())
		c.text(s.at(row.all)+6, y+rowHeight/2, "soft", row.majority.text()+" | "+row.all.text())
	}
	return c.done()
}

// nodePlot has a row for each node.
func (r *Report) nodePlot() string {
	var values []Duration
	longest := 0
	for i := range r.PerNode {
		longest = max(longest, len([]rune(r.PerNode[i].Node)))
		if n := &r.PerNode[i].Acquire; n.Count > 0 {
			values = append(values, n.P50, n.P99, n.Max)
		}
	}
	if len(values) == 0 {
		return ""
	}
	const rowHeight, numbers = 34.0, 215.0
	left := min(260, 24+6.6*float64(longest))
	c := newCanvas(plotTop+rowHeight*float64(len(r.PerNode))+plotBottom, "Latencies of the nodes")
	s := scaleFor(left, plotWidth-plotRight-numbers, values...)
	c.acrossAxis(s)
	for i := range r.PerNode {
		n := &r.PerNode[i]
		y := plotTop + rowHeight*float64(i)
		c.text(left-8, y+rowHeight/2+4, "end", n.Node)
		if a := n.Acquire; a.Count > 0 {
			c.rule(s.at(a.P99), y+rowHeight/2, s.at(a.Max), y+rowHeight/2, "whisker")
			c.box(s.at(a.P50), y+8, s.at(a.P99)-s.at(a.P50), rowHeight-16, "fc", fmt.Sprintf("p50 %s, p99 %s, max %s", a.P50.text(), a.P99.text(), a.Max.text()))
		}
		note := fmt.Sprintf("decides %.0f %%, last %.0f %%", 100*n.Decides, 100*n.Last)
		if n.Failed > 0 {
			note += fmt.Sprintf(", failed %d", n.Failed)
		}
		c.text(plotWidth-plotRight, y+rowHeight/2+4, "soft end", note)
	}
	return c.done()
}

// timePlot shows whether it was the same all the time.
func (r *Report) timePlot() string {
	if len(r.Slices) < 2 {
		return ""
	}
	c := newCanvas(240, "Lock over time")
	var values []Duration
	for _, slice := range r.Slices {
		values = append(values, slice.P50, slice.P99)
	}
	s := scaleFor(c.height-plotBottom, plotTop, values...)
	c.latencyAxis(s)
	const names = 54.0 // of the lines, behind their ends
	right := plotWidth - plotRight - names
	end := r.Slices[len(r.Slices)-1].From
	across := func(d Duration) float64 { return plotLeft + (right-plotLeft)*float64(d)/float64(end) }
	var p50, p99 [][2]float64
	for _, slice := range r.Slices {
		p50 = append(p50, [2]float64{across(slice.From), s.at(slice.P50)})
		p99 = append(p99, [2]float64{across(slice.From), s.at(slice.P99)})
	}
	c.path(p99, "lb")
	c.path(p50, "la")
	for at, step := Duration(0), Duration(roundUp(time.Duration(end)/6)); at <= end; at += step {
		c.text(across(at), c.height-plotBottom+18, "soft mid", at.text())
	}
	last := len(p50) - 1
	c.text(right+6, p50[last][1]+4, "ta", "median")
	c.text(right+6, min(p99[last][1]+4, p50[last][1]-9), "tb", "p99")
	return c.done()
}
