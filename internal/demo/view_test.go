package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
)

// late is a state near the end, with all that is ever shown.
func late() snapshot {
	s := snapshot{
		title: "5 embedded nodes on loopback, 6 workers, one key", elapsed: 8300 * time.Millisecond, planned: 9 * time.Second,
		acquisitions: 123, staleRefused: 1, staleTaken: 1,
	}
	for i := range 5 {
		s.nodes = append(s.nodes, nodeRow{fmt.Sprintf("node-%d", i+1), up, 123, 4567, 89})
	}
	s.nodes[1].state = killed
	for i := range 6 {
		s.workers = append(s.workers, workerRow{fmt.Sprintf("worker-%d", i+1), waiting, 21, 1795384697623329})
	}
	s.workers[0].state, s.workers[5] = holding, workerRow{"worker-6", paused, 0, 0}
	for i := range eventRows {
		s.events = append(s.events, event{time.Duration(i) * time.Second, "worker-6 writes: the fenced register refuses, the other loses an update"})
	}
	return s
}

func TestPlainView(t *testing.T) {
	var out bytes.Buffer
	v := NewPlainView(&out)
	s := late()
	s.elapsed, s.events = 900*time.Millisecond, nil
	v.update(s)
	s.events = []event{{1010 * time.Millisecond, "something happened"}}
	s.elapsed = 1020 * time.Millisecond
	v.update(s)
	s.elapsed = 1120 * time.Millisecond
	v.update(s)
	s.elapsed, s.acquisitions, s.overlaps = 2*time.Second, 1, 1
	v.update(s)
	s.events = append(s.events, event{2900 * time.Millisecond, "the end"})
	s.elapsed = 3 * time.Second
	v.close(s)
	assert.Equal(t, `redlock demo: 5 embedded nodes on loopback, 6 workers, one key, 9.0 s
  1.0 s  something happened
  1.0 s  4 of 5 nodes vote, 123 acquisitions, 0 overlaps
  2.0 s  4 of 5 nodes vote, 1 acquisition, 1 overlap
  2.9 s  the end
`, out.String())
}

func live(out *bytes.Buffer, width, height int, color bool) View {
	return NewLiveView(Terminal{Out: out, Color: color, Size: func() (int, int) { return width, height }})
}

var control = regexp.MustCompile("\x1b\\[[?0-9;]*[a-zA-Z]")

// All of it has room on the smallest usual terminal: a wrapped or scrolled line
// could not be drawn over.
func TestLiveViewFits(t *testing.T) {
	var out bytes.Buffer
	live(&out, 80, 24, false).update(late())
	lines := strings.Split(strings.TrimSuffix(control.ReplaceAllString(out.String(), ""), "\n"), "\n")
	assert.LessOrEqual(t, len(lines), 23)
	for _, l := range lines {
		assert.Less(t, utf8.RuneCountInString(l), 80, l)
	}
	assert.Equal(t, `redlock demo  5 embedded nodes on loopback, 6 workers, one key   8.3 s of 9.0 s

NODE   STATE   GRANTED REFUSED FAILED   WORKER   STATE   LOCKS       LAST TOKEN
node-1 up          123    4567     89   worker-1 HOLDING    21 1795384697623329
node-2 KILLED      123    4567     89   worker-2 waiting    21 1795384697623329
node-3 up          123    4567     89   worker-3 waiting    21 1795384697623329
node-4 up          123    4567     89   worker-4 waiting    21 1795384697623329
node-5 up          123    4567     89   worker-5 waiting    21 1795384697623329
                                        worker-6 PAUSED      0                -

123 acquisitions, 14.8 a second, 0 overlaps
stale writes: 1 refused by the fenced register, 1 taken by the unfenced one

 0.0 s  worker-6 writes: the fenced register refuses, the other loses an update`, strings.Join(lines[:14], "\n"))
}

// It draws over its last picture and gives the cursor back.
func TestLiveViewRedraws(t *testing.T) {
	var out bytes.Buffer
	v := live(&out, 80, 24, true)
	s := late()
	s.events = s.events[:2]
	v.update(s)
	assert.NotContains(t, out.String(), "A\r")
	assert.Contains(t, out.String(), hideCursor)
	assert.Contains(t, out.String(), string(red)+"KILLED")
	out.Reset()
	v.close(s)
	assert.Contains(t, out.String(), fmt.Sprintf(lineUp, 15))
	assert.True(t, strings.HasSuffix(out.String(), showCursor))
}

func TestLiveViewWithoutColor(t *testing.T) {
	var out bytes.Buffer
	live(&out, 80, 24, false).update(late())
	assert.NotRegexp(t, "\x1b\\[[0-9;]*m", out.String())
}

func TestLiveViewTooSmall(t *testing.T) {
	for _, size := range [][2]int{{79, 24}, {80, 22}} {
		var out bytes.Buffer
		v := live(&out, size[0], size[1], true)
		v.update(late())
		v.close(late())
		assert.NotContains(t, out.String(), "\x1b")
		assert.Contains(t, out.String(), "redlock demo: 5 embedded nodes")
	}
}

// A terminal that shrinks shows what has room.
func TestLiveViewShrinks(t *testing.T) {
	var out bytes.Buffer
	width, height := 80, 24
	v := NewLiveView(Terminal{Out: &out, Size: func() (int, int) { return width, height }})
	v.update(late())
	width, height = 40, 10
	out.Reset()
	v.update(late())
	lines := strings.Split(strings.TrimSuffix(control.ReplaceAllString(out.String(), ""), "\n"), "\n")
	assert.Len(t, lines, 9)
	assert.Equal(t, "NODE   STATE   GRANTED REFUSED FAILED  ", lines[2])
}

func fixed() Summary {
	o := outage{node: "node-2", down: time.Second, up: 3500 * time.Millisecond, acquired: 41, back: true}
	p := pause{worker: "worker-6", validity: time.Second, told: time.Second + 300*time.Microsecond, cause: errLost}
	s := Summary{Nodes: []string{"node-1", "node-2"}, Embedded: true, Workers: 6, Elapsed: 9 * time.Second, Acquisitions: 180, StaleRefused: 1, StaleTaken: 1}
	s.Checks = []Check{s.checkAcquisitions(), s.checkOverlaps(), checkOrder(180, 0), o.check(), p.check(time.Second),
		s.checkRefused(), s.checkTaken(), {"clean nodes", Held, "no lock key left on any of 5 nodes"}}
	s.OK = s.failed() == 0
	return s
}

func TestSummaryText(t *testing.T) {
	s := fixed()
	var out bytes.Buffer
	require.NoError(t, s.WriteText(&out, false))
	assert.Equal(t, `
ok       acquisitions     180 by 6 workers in 9.0 s, 20.0 a second
ok       overlaps         0: no two workers ever held the lock at one instant
ok       token order      180 tokens, each larger than the one before
ok       node outage      41 acquisitions in 2.5 s without node-2; it is back
ok       loss told        worker-6's context ended at validity end (+0.3 ms)
ok       fenced writes    1 stale write refused, newer data kept
ok       unfenced writes  1 stale write taken, newer data lost: why to fence
ok       clean nodes      no lock key left on any of 5 nodes

Every check held.
`, out.String())
}

// Every check can fail, and then says what is wrong.
func TestSummaryOfFailures(t *testing.T) {
	s := Summary{Workers: 6, Elapsed: time.Second, Overlaps: 2}
	noOne := outage{node: "node-2", down: 1, up: 2, back: true}
	away := outage{node: "node-2", down: 1, up: 2, acquired: 1}
	untold := pause{worker: "worker-6", validity: 1}
	tooLate := pause{worker: "worker-6", validity: 1, told: 1 + 2*time.Second, cause: errLost}
	otherwise := pause{worker: "worker-6", validity: 1, told: 2, cause: fmt.Errorf("released")}
	s.Checks = []Check{s.checkAcquisitions(), s.checkOverlaps(), checkOrder(9, 1), noOne.check(), away.check(),
		new(pause).check(time.Second), untold.check(time.Second), tooLate.check(time.Second), otherwise.check(time.Second),
		s.checkRefused(), s.checkTaken()}
	for _, c := range s.Checks {
		assert.Equal(t, Failed, c.Status, c.Name+": "+c.Detail)
	}
	var out bytes.Buffer
	require.NoError(t, s.WriteText(&out, true))
	assert.Contains(t, out.String(), string(red)+"FAILED")
	assert.Contains(t, out.String(), "11 checks FAILED.")
	assert.Contains(t, out.String(), "twice: two workers")
	assert.Equal(t, Skipped, new(outage).check().Status)
}

func TestSummaryJSON(t *testing.T) {
	text, err := json.Marshal(fixed())
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, true, got["ok"])
	assert.EqualValues(t, 9000, got["elapsed_ms"])
	assert.EqualValues(t, 180, got["acquisitions"])
	assert.Len(t, got["checks"], 8)
}

var errLost = fmt.Errorf("redlock: %w", redlock.ErrLost)
