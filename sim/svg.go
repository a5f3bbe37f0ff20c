package sim

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// WriteSVG writes the pictures of the page alone, one below the other, as one
// SVG image. The runs must have been recorded.
func (s ScenarioResult) WriteSVG(out io.Writer) error {
	reports := []*Report{&s.Report}
	for i := range s.Twins {
		reports = append(reports, &s.Twins[i])
	}
	return writeSVG(out, s.Scenario.Title, reports)
}

// WriteSVG writes the pictures of the page alone, as one SVG image.
func (r *Report) WriteSVG(out io.Writer, title string) error {
	reports := []*Report{r}
	if twin, ok := r.twin(); ok {
		reports = append(reports, &twin)
	}
	return writeSVG(out, title, reports)
}

const (
	lineHeight  = 18
	lineLetters = 150
)

func writeSVG(out io.Writer, title string, reports []*Report) error {
	var body strings.Builder
	y := 34
	line := func(class, text string) {
		fmt.Fprintf(&body, `<text class="%s" x="12" y="%d">%s</text>`, class, y, html.EscapeString(text))
		y += lineHeight
	}
	line("title", title)
	for _, r := range reports {
		y += lineHeight
		line("heading", r.heading())
		for _, text := range foldLines(r.Headline(), lineLetters) {
			line("", text)
		}
		svg, legend := r.draw()
		p := &picture{}
		p.layOut(r.world)
		fmt.Fprintf(&body, `<g transform="translate(0 %d)">%s</g>`, y-lineHeight/2, svg)
		y += p.height() + lineHeight/2
		for _, text := range shorten(legend) {
			line("time", text)
		}
	}
	_, err := fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"><style>%s</style>`+
		`<rect class="paper" width="100%%" height="100%%"/>%s</svg>`+"\n", pictureWidth, y, pictureWidth, y, colours+drawing, body.String())
	return err
}

// foldLines breaks a text into lines of at most so many letters.
func foldLines(text string, letters int) (lines []string) {
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > letters {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// shorten keeps the first lines of a legend.
func shorten(legend []string) []string {
	if len(legend) <= longestLegend {
		return legend
	}
	more := fmt.Sprintf("and %d more", len(legend)-longestLegend)
	return append(legend[:longestLegend:longestLegend], more)
}

const longestLegend = 24
