package sim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func story(t *testing.T, name string) Scenario {
	t.Helper()
	for _, s := range Scenarios() {
		if s.Name == name {
			return s
		}
	}
	require.FailNow(t, "no such story", name)
	return Scenario{}
}

// A page needs no script and nothing from elsewhere; the image alone is proper
// XML; both say in words what went wrong, and draw the messages that led there.
func TestPagesAndImages(t *testing.T) {
	r := story(t, "kleppmann-clock-jump").Run(true)
	var page, image bytes.Buffer
	require.NoError(t, r.WriteHTML(&page))
	require.NoError(t, r.WriteSVG(&image))
	for _, text := range []string{page.String(), image.String()} {
		require.NotContains(t, text, "<script")
		require.NotContains(t, strings.ReplaceAll(text, "http://www.w3.org/2000/svg", ""), "http")
		require.Contains(t, text, "c2 has the lock from 4.016s on, while c1 relies on it until 10.898s")
		require.Contains(t, text, "jump n3 by 20s at 3s")
		require.Contains(t, text, `class="arrow"`)
		require.Contains(t, text, `class="band"`)
	}
	d := xml.NewDecoder(&image)
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
}

// A run without a defence is shown beside its twin that has them all.
func TestAMutantIsShownBesideItsTwin(t *testing.T) {
	s := story(t, "kleppmann-crash-restart")
	s.Config.Record, s.Config.Without = true, s.Twins[0].Without
	r := Run(s.Config)
	var page bytes.Buffer
	require.NoError(t, r.WriteHTML(&page, "title", ""))
	require.Contains(t, page.String(), "Without: a node that may have lost grants is not counted")
	require.Contains(t, page.String(), asItShips)
	require.Equal(t, 2, strings.Count(page.String(), "<svg "))
}

// The JSON has what the picture shows, by names that stay.
func TestReplaysListWhatHappened(t *testing.T) {
	s := story(t, "kleppmann-gc-after-win")
	s.Config.Record = true
	r := Run(s.Config)
	data, err := json.Marshal(r.Replay())
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	for _, field := range []string{"schema", "name", "seed", "config", "faults", "verdict", "hash", "tape", "stats", "caption", "story", "holds", "grants", "writes"} {
		require.Contains(t, got, field)
	}
	require.Len(t, got["holds"], 2)
	require.Equal(t, "c1", got["holds"].([]any)[0].(map[string]any)["client"])
	refused := 0
	for _, w := range got["writes"].([]any) {
		if w.(map[string]any)["accepted"] == false {
			refused++
		}
	}
	require.Equal(t, 1, refused)
	require.Regexp(t, `pause c1 for 20s at 2\.002s\. The fenced resource refused 1 write \(the first c1's, #1 < #\d+\)`, r.Caption())
}
