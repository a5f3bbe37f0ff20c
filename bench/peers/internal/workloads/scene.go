package workloads

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/measure"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

// straggle is how long after a run votes may still be on their way: what is on a
// server after that was left there.
const straggle = 50 * time.Millisecond

// scene is what one run happens in.
type scene struct {
	bench *Bench
	peer  *lockers.Peer
	round int
	where lockers.Where
	skip  int // the bad node, on which nobody can clean up; -1: none

	opened []lockers.Locker
	mend   func() error // the bad node

	overlaps, disorder atomic.Int64
	lost, failed       failures
}

// open opens the peer's locker, with connections of its own.
func (s *scene) open() (lockers.Locker, error) {
	l, err := s.peer.Open(s.where)
	if err == nil {
		s.opened = append(s.opened, l)
	}
	return l, err
}

// finish counts the locks left on the servers, and closes everything.
func (s *scene) finish(ctx context.Context) (left int, err error) {
	if s.peer.IsLock != nil {
		time.Sleep(straggle)
		left, err = s.bench.Servers.Leftovers(ctx, s.skip, s.peer.IsLock)
	}
	if s.mend != nil {
		if errMend := s.mend(); err == nil {
			err = errMend
		}
	}
	for _, l := range s.opened {
		l.Close()
	}
	return left, err
}

// failures counts errors and keeps the first.
type failures struct {
	count atomic.Int64
	first atomic.Pointer[error]
}

func (f *failures) add(err error) {
	f.count.Add(1)
	f.first.CompareAndSwap(nil, &err)
}

func (s *scene) problems() (all []string) {
	if n := s.overlaps.Load(); n > 0 {
		all = append(all, fmt.Sprintf("two held one key, %d times", n))
	}
	if n := s.disorder.Load(); n > 0 {
		all = append(all, fmt.Sprintf("a token was not larger than the one before, %d times", n))
	}
	for _, kind := range []struct {
		what string
		of   *failures
	}{{"were lost or not unlocked", &s.lost}, {"were not to be had", &s.failed}} {
		if n := kind.of.count.Load(); n > 0 {
			all = append(all, fmt.Sprintf("%d locks %s, first: %v", n, kind.what, *kind.of.first.Load()))
		}
	}
	return all
}

// guard watches one key: that it is held by one at a time, and that tokens grow.
type guard struct {
	holders atomic.Int32
	token   atomic.Uint64
}

func (s *scene) enter(g *guard, h lockers.Held) {
	if g.holders.Add(1) != 1 {
		s.overlaps.Add(1)
	}
	if token := h.Token(); token != 0 && g.token.Swap(token) >= token {
		s.disorder.Add(1)
	}
}

func (s *scene) leave(g *guard) { g.holders.Add(-1) }

// meter tells what client and servers used meanwhile.
type meter struct {
	scene    *scene
	began    measure.Usage
	cpu      time.Duration
	hasCPU   bool
	commands int64
}

func (s *scene) meter(ctx context.Context) (*meter, error) {
	m := &meter{scene: s}
	var err error
	if s.peer.On == servers.Redis {
		if m.commands, err = s.bench.Servers.Commands(ctx); err != nil {
			return nil, err
		}
	}
	m.cpu, m.hasCPU = s.bench.Servers.CPU(s.peer.On)
	m.began = measure.Now()
	return m, nil
}

// stop adds the figures for each of n operations, named after them.
func (m *meter) stop(ctx context.Context, n int, f Figures) error {
	ended := measure.Now()
	cpu, _ := m.scene.bench.Servers.CPU(m.scene.peer.On)
	each := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(n) }
	f["client_cpu_us"] = each(ended.CPU - m.began.CPU)
	f["allocs"] = float64(ended.Allocs-m.began.Allocs) / float64(n)
	if m.hasCPU {
		f["server_cpu_us"] = each(cpu - m.cpu)
		f["cpu_us"] = f["client_cpu_us"] + f["server_cpu_us"]
	}
	if m.scene.peer.On == servers.Redis {
		commands, err := m.scene.bench.Servers.Commands(ctx)
		if err != nil {
			return err
		}
		f["commands"] = float64(commands-m.commands) / float64(n)
	}
	return nil
}
