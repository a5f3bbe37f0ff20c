package quorumbench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/quorumbench"
	"github.com/quorumlock/redlock/memnode"
)

// distant is a node at a distance: every call takes so much longer.
type distant struct {
	redlock.Node
	away time.Duration
}

func (d *distant) wait(ctx context.Context) error {
	select {
	case <-time.After(d.away):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *distant) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	if err := d.wait(ctx); err != nil {
		return redlock.Vote{}, err
	}
	return d.Node.Acquire(ctx, req)
}

func (d *distant) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	if err := d.wait(ctx); err != nil {
		return err
	}
	return d.Node.Release(ctx, req)
}

// group makes nodes at distances of so many milliseconds.
func group(milliseconds ...int) []redlock.Node {
	nodes := memnode.NewN(len(milliseconds), memnode.Options{Name: "n", Clock: redlock.GoClock()})
	for i, ms := range milliseconds {
		nodes[i] = &distant{nodes[i], time.Duration(ms) * time.Millisecond}
	}
	return nodes
}

func inMemory(n redlock.Node) *memnode.Node { return n.(*distant).Node.(*memnode.Node) }

func config() quorumbench.Config {
	return quorumbench.Config{
		Clock: redlock.GoClock(), TTL: 10 * time.Second, For: 3 * time.Second,
		Concurrency: 1, Keys: 1, Prefix: "bench",
	}
}

func measure(t *testing.T, ctx context.Context, cfg quorumbench.Config, nodes []redlock.Node) (*quorumbench.Report, error) {
	t.Helper()
	b := quorumbench.New(cfg)
	l, err := redlock.New(nodes, redlock.Options{Clock: cfg.Clock, TTL: cfg.TTL, Observer: b})
	require.NoError(t, err)
	return b.Run(ctx, l, nodes)
}

// about holds the three digits of a histogram.
func about(t *testing.T, want time.Duration, got quorumbench.Duration, what string) {
	t.Helper()
	assert.InEpsilon(t, float64(want), float64(got), 0.01, "%s: want %v, got %v", what, want, time.Duration(got))
}

// With nodes at known distances, everything that is shown is known.
func TestRunFindsWhoDecidesAndWhoDrags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := group(1, 2, 3, 4, 50)
		r, err := measure(t, t.Context(), config(), nodes)
		require.NoError(t, err)

		about(t, 3*time.Millisecond, r.Lock.P50, "Lock")
		about(t, 3*time.Millisecond, r.Unlock.P50, "Unlock")
		about(t, 3*time.Millisecond, r.Majority.P99, "the majority")
		about(t, 50*time.Millisecond, r.All.P50, "all nodes")
		about(t, 47*time.Millisecond, r.Saved.P50, "what is saved")
		about(t, 4*time.Millisecond, r.OneGone.P50, "without the fastest node")
		assert.InDelta(t, 3/0.006, r.Locks, 10, "one after the other")
		for i, want := range []struct{ decides, last float64 }{{0, 0}, {0, 0}, {1, 0}, {0, 0}, {0, 1}} {
			n := r.PerNode[i]
			about(t, nodes[i].(*distant).away, n.Acquire.P50, n.Node)
			about(t, nodes[i].(*distant).away, n.Release.P50, n.Node)
			assert.Equal(t, want.decides, n.Decides, n.Node)
			assert.Equal(t, want.last, n.Last, n.Node)
			assert.Zero(t, n.Failed, n.Node)
		}
		assert.Zero(t, r.LeftLocked+r.LeftUnknown)
		assert.Contains(t, texts(r.Advice), "n-5 drags")
		assert.Len(t, r.Slices, 60)
	})
}

func texts(all []quorumbench.Advice) string {
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%s: %s\n", a.Kind, a.Text)
	}
	return b.String()
}

func TestRunEndsAtItsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.Count, cfg.Concurrency, cfg.Keys = 100, 7, 20
		var last quorumbench.Progress
		told := 0
		cfg.Progress = func(p quorumbench.Progress) { last = p; told++ }
		r, err := measure(t, t.Context(), cfg, group(1, 10, 10))
		require.NoError(t, err)
		assert.EqualValues(t, 100, r.Locks)
		assert.Less(t, time.Duration(r.Elapsed), time.Second)
		assert.True(t, last.Done)
		assert.EqualValues(t, 100, last.Locks)
		assert.Greater(t, told, 1)
	})
}

// Whoever interrupts a run gets what was measured, and clean nodes.
func TestRunCleansUpWhenItIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second+time.Millisecond, cancel) // in the middle of an operation
		nodes := group(1, 5, 9)
		cfg := config()
		cfg.Concurrency, cfg.Keys = 8, 8
		r, err := measure(t, ctx, cfg, nodes)
		require.NoError(t, err)
		assert.True(t, r.Interrupted)
		assert.Greater(t, r.Locks, int64(1000))
		assert.Less(t, time.Duration(r.Elapsed), 3*time.Second)
		assert.Zero(t, r.LeftLocked+r.LeftUnknown)
		for _, n := range nodes {
			for k := range 8 {
				state, err := n.Inspect(t.Context(), fmt.Sprintf("bench:%d", k))
				require.NoError(t, err)
				assert.False(t, state.Held, "%s of %s", state.Owner, n.Name())
			}
		}
	})
}

// A node may take an acquire, and no release in time, and be well again later.
func TestRunFreesWhatWasLeftOnASlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := group(1, 2, 400)
		nodes[2] = &deaf{nodes[2].(*distant).Node, 400 * time.Millisecond}
		cfg := config()
		cfg.Concurrency, cfg.Keys = 4, 4
		r, err := measure(t, t.Context(), cfg, nodes)
		require.NoError(t, err)
		assert.Zero(t, r.LeftLocked+r.LeftUnknown)
		for k := range 4 {
			state, err := nodes[2].Inspect(t.Context(), fmt.Sprintf("bench:%d", k))
			require.NoError(t, err)
			assert.False(t, state.Held)
		}
	})
}

// deaf is a node that hears of releases too late, unless it is given time.
type deaf struct {
	redlock.Node
	takes time.Duration
}

func (d *deaf) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	select {
	case <-time.After(d.takes):
		return d.Node.Release(ctx, req)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A node that is gone is no reason not to measure the others.
func TestRunWithADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := group(1, 2, 3)
		inMemory(nodes[0]).SetDown(errors.New("connection refused"))
		r, err := measure(t, t.Context(), config(), nodes)
		require.NoError(t, err)
		about(t, 3*time.Millisecond, r.Lock.P50, "Lock")
		assert.Zero(t, r.PerNode[0].Acquire.Count)
		assert.Equal(t, r.PerNode[0].Asked, r.PerNode[0].Failed)
		assert.Equal(t, 1.0, r.PerNode[2].Decides)
		assert.Zero(t, r.LeftLocked)
		assert.Equal(t, 1, r.LeftUnknown)
		assert.Contains(t, texts(r.Advice), "n-1 failed 100.0 % of what it was asked, last with: connection refused.")

		var text bytes.Buffer
		require.NoError(t, r.WriteText(&text, 80))
		assert.Contains(t, text.String(), "could not be looked at")
	})
}

func TestRunWithoutAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := group(1, 2, 3)
		inMemory(nodes[0]).SetDown(errors.New("down"))
		inMemory(nodes[1]).SetDown(errors.New("down"))
		_, err := measure(t, t.Context(), config(), nodes)
		require.ErrorIs(t, err, redlock.ErrNoQuorum)
	})
}

// An outage in the middle of a run is counted, and the run goes on.
func TestRunCountsWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := group(1, 2, 3)
		time.AfterFunc(time.Second, func() {
			inMemory(nodes[0]).SetDown(errors.New("down"))
			inMemory(nodes[1]).SetDown(errors.New("down"))
		})
		time.AfterFunc(2*time.Second, func() {
			inMemory(nodes[0]).SetDown(nil)
			inMemory(nodes[1]).SetDown(nil)
		})
		r, err := measure(t, t.Context(), config(), nodes)
		require.NoError(t, err)
		assert.Positive(t, r.Failed)
		assert.GreaterOrEqual(t, r.Failures["no quorum"], r.Failed)
		assert.Greater(t, r.Locks, int64(300), "after the outage too")
		assert.Contains(t, texts(r.Advice), "locks were not to be had: at times too few nodes answered")
		assert.NotContains(t, texts(r.Advice), "Nothing waited for it")
	})
}

func TestCheckRefusesWhatIsNotBounded(t *testing.T) {
	for want, spoil := range map[string]func(*quorumbench.Config){
		"the time is 0s":         func(c *quorumbench.Config) { c.For = 0 },
		"the count is -1":        func(c *quorumbench.Config) { c.Count = -1 },
		"the concurrency is 0":   func(c *quorumbench.Config) { c.Concurrency = 0 },
		"there are 1000000 keys": func(c *quorumbench.Config) { c.Keys = 1000000 },
		"the prefix has 0 bytes": func(c *quorumbench.Config) { c.Prefix = "" },
		"use 1 to 506":           func(c *quorumbench.Config) { c.Prefix = strings.Repeat("x", 507) },
	} {
		cfg := config()
		spoil(&cfg)
		assert.ErrorContains(t, cfg.Check(), want)
	}
}

func TestReportIsWrittenInEveryForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config()
		cfg.Prefix = "<&>"
		r, err := measure(t, t.Context(), cfg, group(1, 2, 3, 4, 50))
		require.NoError(t, err)

		var text, page bytes.Buffer
		require.NoError(t, r.WriteText(&text, 100))
		for _, want := range []string{"3 of 5 nodes granted", "decides", "│█", "Nothing is left locked."} {
			assert.Contains(t, text.String(), want)
		}

		require.NoError(t, r.WriteHTML(&page, time.Now(), "redlock bench --for 1s"))
		assert.NotContains(t, page.String(), "<script")
		assert.NotContains(t, page.String(), "http", "nothing is fetched")
		assert.NotContains(t, page.String(), "NaN")
		assert.Equal(t, 5, strings.Count(page.String(), "<svg"))
		wellFormed(t, page.String())

		encoded, err := json.Marshal(r)
		require.NoError(t, err)
		var back struct {
			Lock struct {
				P50 float64 `json:"p50_ms"`
			} `json:"lock"`
		}
		require.NoError(t, json.Unmarshal(encoded, &back))
		assert.InEpsilon(t, 3, back.Lock.P50, 0.01)
	})
}

// wellFormed reads a page as XML, all but the parts that HTML writes otherwise.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(page, "<!doctype html>")))
	d.Entity = xml.HTMLEntity
	for {
		if _, err := d.Token(); err != nil {
			require.ErrorIs(t, err, io.EOF)
			return
		}
	}
}
