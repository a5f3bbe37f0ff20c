package quorumbench

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// calm are facts that call for nothing.
func calm() Facts {
	latency := func(p50, p999, most time.Duration) Latency {
		return Latency{Count: 100_000, P50: Duration(p50), P99: Duration(p999), P999: Duration(p999), Max: Duration(most)}
	}
	f := Facts{
		Nodes: 5, Concurrency: 1, Keys: 1, TTL: 5 * time.Second, NodeTimeout: 100 * time.Millisecond,
		Lock:     latency(time.Millisecond, 10*time.Millisecond, 60*time.Millisecond),
		Majority: latency(time.Millisecond, 10*time.Millisecond, 60*time.Millisecond),
		OneGone:  latency(time.Millisecond, 20*time.Millisecond, 60*time.Millisecond),
	}
	for range 5 {
		f.PerNode = append(f.PerNode, NodeReport{Node: "n", Asked: 1000, Acquire: latency(time.Millisecond, 10*time.Millisecond, 60*time.Millisecond)})
	}
	return f
}

func TestAdvise(t *testing.T) {
	for _, c := range []struct {
		name  string
		facts func(f *Facts)
		want  []string // of each advice, its kind and a part
	}{
		{"all is well", func(*Facts) {}, []string{
			"fine: The node timeout of 100 ms fits", "fine: The TTL of 5 s fits"}},
		{"slow nodes", func(f *Facts) { f.OneGone.P99 = Duration(80 * time.Millisecond) }, []string{
			"change: Raise the node timeout from 100 ms to 400 ms", "fine: The TTL of 5 s fits"}},
		{"a timeout that is far too long", func(f *Facts) { f.NodeTimeout = time.Second }, []string{
			"fine: The node timeout of 1 s is ample", "fine: The TTL of 5 s fits"}},
		{"a TTL that one slow lock uses up", func(f *Facts) { f.Lock.Max = Duration(2 * time.Second) }, []string{
			"fine: The node timeout", "change: Raise the TTL from 5 s to 20 s"}},
		{"waiting for each other is no slowness", func(f *Facts) { f.Lock.Max, f.Concurrency = Duration(2*time.Second), 9 }, []string{
			"fine: The node timeout", "fine: The TTL of 5 s fits", "note: 9 workers shared 1 keys"}},
		{"a TTL that is far too long", func(f *Facts) { f.TTL = time.Minute }, []string{
			"fine: The node timeout", "fine: The TTL of 60 s is ample"}},
		{"a node that drags", func(f *Facts) { f.PerNode[3].Acquire.P50, f.PerNode[3].Last = Duration(9*time.Millisecond), 0.98 }, []string{
			"fine: ", "fine: ", "note: n drags: it takes 9 ms where the others take 1 ms (p50), and is last in 98 % of the rounds"}},
		{"a node that fails", func(f *Facts) { f.PerNode[0].Failed, f.PerNode[0].LastError = 5, "refused" }, []string{
			"fine: ", "fine: ", "change: n failed 0.5 % of what it was asked, last with: refused"}},
		{"an outage", func(f *Facts) {
			f.Failed, f.Lock.Max = 25, Duration(2*time.Second)
			f.PerNode[0].Failed, f.PerNode[0].LastError = 5, "refused"
		}, []string{
			"change: 25 of 100025 locks were not to be had: at times too few nodes answered",
			"note: Whether the node timeout of 100 ms fits cannot be told",
			"fine: The TTL of 5 s fits",
			"change: n failed 0.5 % of what it was asked, last with: refused. Nothing waits for it while enough others answer"}},
		{"an outage with slow nodes", func(f *Facts) { f.Failed, f.OneGone.P99 = 1, Duration(80*time.Millisecond) }, []string{
			"change: 1 of", "change: Raise the node timeout from 100 ms to 400 ms", "fine: The TTL of 5 s fits"}},
		{"one near node", func(f *Facts) { f.OneGone.P50 = Duration(9 * time.Millisecond) }, []string{
			"fine: ", "fine: ", "note: Without its fastest node a majority takes 9 ms rather than 1 ms"}},
		{"an even number", func(f *Facts) { f.Nodes = 4 }, []string{
			"fine: ", "fine: ", "note: 4 nodes stand no more failures than 3 would"}},
		{"few locks", func(f *Facts) { f.Lock.Count = 9999 }, []string{
			"fine: ", "fine: ", "note: 9999 locks are few"}},
		{"no locks", func(f *Facts) { f.Lock = Latency{} }, []string{"change: No lock was had"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := calm()
			c.facts(&f)
			all := Advise(f)
			if assert.Len(t, all, len(c.want), "%v", all) {
				for i, want := range c.want {
					got := string(all[i].Kind) + ": " + all[i].Text
					assert.True(t, strings.HasPrefix(got, want), "got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

// Whoever takes the advice and measures the same again is not told to change it once
// more.
func TestAdviceIsStable(t *testing.T) {
	for slow := time.Millisecond; slow < 10*time.Second; slow = slow * 13 / 10 {
		f := calm()
		f.Majority.P999, f.OneGone.P99, f.Lock.Max = Duration(slow/2), Duration(slow), Duration(2*slow)
		for _, a := range Advise(f)[:2] {
			switch a.Setting {
			case "node-timeout":
				f.NodeTimeout = time.Duration(a.Suggested)
			case "ttl":
				f.TTL = time.Duration(a.Suggested)
			}
		}
		for _, a := range Advise(f)[:2] {
			assert.Equal(t, Fine, a.Kind, "at %v: %s", slow, a.Text)
			assert.Contains(t, a.Text, "fits", "at %v", slow)
		}
		assert.LessOrEqual(t, f.NodeTimeout, f.TTL/4, "at %v", slow)
	}
}

func TestRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0:                       0,
		50 * time.Millisecond:   50 * time.Millisecond,
		51 * time.Millisecond:   75 * time.Millisecond,
		76 * time.Millisecond:   100 * time.Millisecond,
		1000 * time.Millisecond: time.Second,
		1010 * time.Millisecond: 1500 * time.Millisecond,
		99 * time.Second:        100 * time.Second,
	} {
		assert.Equal(t, want, roundUp(d), "%v", d)
	}
}

func TestText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                            "0",
		400:                          "400 ns",
		12_340:                       "12.3 µs",
		999 * time.Microsecond:       "999 µs",
		1_500 * time.Microsecond:     "1.5 ms",
		60 * time.Second:             "60 s",
		250 * time.Second:            "4m10s",
		2_345_678 * time.Microsecond: "2.35 s",
	} {
		assert.Equal(t, want, Text(d))
	}
}

func TestBlocks(t *testing.T) {
	assert.Equal(t, "", blocks(0, 10))
	assert.Equal(t, "█▌", blocks(1.5, 10))
	assert.Equal(t, "▏", blocks(0.1, 10))
	assert.Equal(t, "██", blocks(99, 2))
}

func TestProgressLineFits(t *testing.T) {
	p := Progress{Elapsed: time.Second, For: 4 * time.Second, Locks: 1234, P50: 300 * time.Microsecond, Failed: 1}
	for width := range 120 {
		line := NewProgressBar(nil, width).line(p)
		assert.LessOrEqual(t, len([]rune(line)), max(0, width-1), "%d columns: %q", width, line)
	}
	assert.Contains(t, NewProgressBar(nil, 80).line(p), "·  25 %  1234 locks  p50 300 µs  1 failed")
	p.Count = 2000
	assert.Contains(t, NewProgressBar(nil, 80).line(p), " 62 %")
}
