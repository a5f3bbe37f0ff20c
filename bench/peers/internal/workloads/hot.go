package workloads

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/measure"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

// separate is how many lockers with connections of their own contend, as so many
// processes would; shared is how many goroutines of one locker do.
const (
	separate = 16
	shared   = 64
)

// meanPause is how long a contender that pauses does so on average.
const meanPause = 5 * time.Millisecond

const hotKey = "bench/hot"

func hotColumns() []Column {
	return []Column{
		{"sections/s", "sections_per_s", 0, true},
		{"hand-offs/s", "handoffs_per_s", 0, true},
		{"hand-off p50 µs", "handoff_p50_us", 0, false},
		{"p99", "handoff_p99_us", 0, false},
		{"÷ own Lock", "handoff_per_lock", 2, false},
		{"wait p50 µs", "wait_p50_us", 0, false},
		{"wait p99 µs", "wait_p99_us", 0, true},
		{"fewest/most", "fairness", 2, false},
		{"commands", "commands", 0, false},
		{"CPU µs", "cpu_us", 0, false},
		{"left", "stranded", 0, false},
	}
}

func hotSeparate() Workload {
	return Workload{
		Name:   "hot",
		Title:  "Hot key: 16 lockers with connections of their own want one key all the time",
		Takes:  forCrowds,
		Column: hotColumns(),
		run: func(ctx context.Context, s *scene) (Figures, error) {
			return contend(ctx, s, separate, separate, 0)
		},
	}
}

func hotPause() Workload {
	return Workload{
		Name:   "hot-pause",
		Title:  "Hot key: 16 lockers with connections of their own want one key, each after a pause of 5 ms on average",
		Takes:  forCrowds,
		Column: hotColumns(),
		run: func(ctx context.Context, s *scene) (Figures, error) {
			return contend(ctx, s, separate, separate, meanPause)
		},
	}
}

// hotFar shows what the same takes where it is the network's time that counts, and not
// that of processors which are all busy.
func hotFar() Workload {
	return Workload{
		Name: "hot-far",
		Title: fmt.Sprintf("Hot key: 16 lockers with connections of their own want one key all the time, from servers %d ms away",
			servers.FarBy.Milliseconds()),
		Takes:  (*lockers.Peer).Quorum,
		Column: hotColumns(),
		run: func(ctx context.Context, s *scene) (Figures, error) {
			far, err := s.bench.Servers.Far()
			if err != nil {
				return nil, err
			}
			s.where.Redis, s.mend = far.Addrs(), far.Close
			return contend(ctx, s, separate, separate, 0)
		},
	}
}

func hotShared() Workload {
	return Workload{
		Name:   "hot-shared",
		Title:  "Hot key: 64 goroutines of one locker want one key all the time",
		Takes:  forCrowds,
		Column: hotColumns(),
		run: func(ctx context.Context, s *scene) (Figures, error) {
			return contend(ctx, s, 1, shared, 0)
		},
	}
}

// arena is the key that all want.
type arena struct {
	guard guard

	mu       sync.Mutex
	last     int       // who had it last; -1 before the first
	released time.Time // when that one began to give it up
	handoffs measure.Latencies
	sections []int
}

// got notes that contender i has the key since now.
func (a *arena) got(i int, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last >= 0 && a.last != i {
		a.handoffs.Add(now.Sub(a.released))
	}
	a.last = i
	a.sections[i]++
}

func (a *arena) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.released = time.Now()
}

// contender wants the key.
type contender struct {
	scene  *scene
	arena  *arena
	number int
	locker lockers.Locker
	pause  time.Duration
	random *rand.Rand
	waits  measure.Latencies
}

// contend has n contenders share so many lockers.
func contend(ctx context.Context, s *scene, lockersCount, n int, pause time.Duration) (Figures, error) {
	var open []lockers.Locker
	for range lockersCount {
		l, err := s.open()
		if err != nil {
			return nil, err
		}
		open = append(open, l)
	}
	f := Figures{}
	if err := uncontended(ctx, s, open, f); err != nil {
		return nil, err
	}
	a := &arena{last: -1, sections: make([]int, n)}
	all := make([]*contender, n)
	for i := range all {
		all[i] = &contender{scene: s, arena: a, number: i, locker: open[i%len(open)], pause: pause, random: rand.New(rand.NewPCG(uint64(s.round), uint64(i)))}
	}
	m, err := s.meter(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	window, cancel := context.WithTimeout(ctx, s.bench.Config.Hot)
	defer cancel()
	var running sync.WaitGroup
	for _, c := range all {
		running.Go(func() { c.run(window) })
	}
	running.Wait()
	elapsed := time.Since(start)
	if err := m.stop(ctx, max(1, sum(a.sections)), f); err != nil {
		return nil, err
	}
	a.figures(all, elapsed, f)
	return f, ctx.Err()
}

func (c *contender) run(ctx context.Context) {
	for ctx.Err() == nil {
		if c.pause > 0 {
			select {
			case <-time.After(time.Duration(c.random.ExpFloat64() * float64(c.pause))):
			case <-ctx.Done():
				return
			}
		}
		start := time.Now()
		held, err := c.locker.Lock(ctx, hotKey)
		now := time.Now()
		// Who still waits at the end has waited for at least so long.
		c.waits.Add(now.Sub(start))
		if err != nil {
			if ctx.Err() == nil {
				c.scene.failed.add(err)
			}
			continue
		}
		c.scene.enter(&c.arena.guard, held)
		c.arena.got(c.number, now)
		c.arena.release()
		c.scene.leave(&c.arena.guard)
		if err := held.Unlock(context.WithoutCancel(ctx)); err != nil {
			c.scene.lost.add(err)
		}
	}
}

func (a *arena) figures(all []*contender, elapsed time.Duration, f Figures) {
	f["sections_per_s"] = float64(sum(a.sections)) / elapsed.Seconds()
	f["handoffs_per_s"] = float64(a.handoffs.Len()) / elapsed.Seconds()
	if most := slices.Max(a.sections); most > 0 {
		f["fairness"] = float64(slices.Min(a.sections)) / float64(most)
	}
	f["starved"] = 0
	for _, n := range a.sections {
		if n == 0 {
			f["starved"]++
		}
	}
	var waits []*measure.Latencies
	for _, c := range all {
		waits = append(waits, &c.waits)
	}
	for name, q := range map[string]measure.Quantiles{"handoff": measure.Merge(&a.handoffs), "wait": measure.Merge(waits...)} {
		for suffix, p := range map[string]float64{"_p50_us": 50, "_p99_us": 99, "_max_us": 100} {
			if v := q.Micros(p); !math.IsNaN(v) {
				f[name+suffix] = v
			}
		}
	}
	if p50, ok := f["handoff_p50_us"]; ok {
		f["handoff_per_lock"] = p50 / f["uncontended_lock_p50_us"]
	}
}

// uncontended warms all lockers up and measures how long Lock takes while nobody
// else does anything.
func uncontended(ctx context.Context, s *scene, open []lockers.Locker, f Figures) error {
	for _, l := range open {
		if err := work(ctx, s.newWorkers(l, 1), 10*time.Millisecond); err != nil {
			return err
		}
	}
	one := s.newWorkers(open[0], 1)
	if err := work(ctx, one, 200*time.Millisecond); err != nil {
		return err
	}
	f["uncontended_lock_p50_us"] = measure.Merge(&one[0].lock).Micros(50)
	return nil
}

func sum(values []int) (n int) {
	for _, v := range values {
		n += v
	}
	return n
}
