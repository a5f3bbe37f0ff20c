package workloads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumlock/redlock/bench/peers/internal/lockers"
	"github.com/quorumlock/redlock/bench/peers/internal/measure"
	"github.com/quorumlock/redlock/bench/peers/internal/servers"
)

const (
	heldTTL = 30 * time.Second

	// heldFor is over a TTL, so that every lease must have been renewed.
	heldFor = heldTTL + 5*time.Second

	// heldCallers take the leases. It is no part of what is measured.
	heldCallers = 64
)

// held takes many leases and has them renew for more than their TTL.
func held() Workload {
	return Workload{
		Name:  "held",
		Title: "Held: many leases that renew by themselves, TTL 30 s",
		Once:  true,
		Takes: func(p *lockers.Peer) bool { return p.Name == lockers.Redlock },
		Column: []Column{
			{"leases", "leases", 0, false},
			{"taken/s", "ops_per_s", 0, false},
			{"bytes each, key not counted", "bytes_per_lease", 0, false},
			{"% of a core", "core_percent", 1, false},
			{"servers, % of a core", "server_core_percent", 1, false},
			{"lost", "lost", 0, false},
			{"left", "stranded", 0, false},
		},
		run: holdMany,
	}
}

func holdMany(ctx context.Context, s *scene) (Figures, error) {
	// A server does not vote until every grant that it may have forgotten is over.
	if err := s.bench.Servers.Settle(ctx, heldTTL+time.Second); err != nil {
		return nil, err
	}
	l, err := lockers.OpenRedlock(s.where, heldTTL)
	if err != nil {
		return nil, err
	}
	s.opened = append(s.opened, l)
	if err := work(ctx, s.newWorkers(l, 1), 100*time.Millisecond); err != nil {
		return nil, err
	}
	n := s.bench.Config.Leases
	all := make([]lockers.Held, n)
	before := measure.Memory()
	start := time.Now()
	keyBytes, err := takeAll(ctx, l, all)
	if err != nil {
		return nil, err
	}
	taken := time.Since(start)
	memory := measure.Memory()
	f := Figures{
		"leases":          float64(n),
		"ops_per_s":       float64(n) / taken.Seconds(),
		"lost":            0,
		"bytes_per_lease": (float64(memory) - float64(before) - float64(keyBytes)) / float64(n),
	}
	cpu, _ := s.bench.Servers.CPU(servers.Redis)
	from := measure.Now()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(heldFor):
	}
	to, cpuEnd := measure.Now(), time.Duration(0)
	cpuEnd, _ = s.bench.Servers.CPU(servers.Redis)
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / to.At.Sub(from.At).Seconds() }
	f["core_percent"], f["server_core_percent"] = percent(to.CPU-from.CPU), percent(cpuEnd-cpu)
	for _, h := range all {
		if err := lockers.Valid(h); err != nil {
			f["lost"]++
			s.lost.add(err)
		}
	}
	return f, freeAll(ctx, all)
}

// takeAll takes a lease for each place in all and tells how long the keys are together.
func takeAll(ctx context.Context, l lockers.Locker, all []lockers.Held) (keyBytes int, err error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(heldCallers)
	for i := range all {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			key := fmt.Sprintf("bench/held/%d", i)
			h, err := l.Lock(ctx, key)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			keyBytes += len(key)
			all[i] = h
			return nil
		})
	}
	return keyBytes, errors.Join(g.Wait(), ctx.Err())
}

func freeAll(ctx context.Context, all []lockers.Held) error {
	var g errgroup.Group
	g.SetLimit(heldCallers)
	for _, h := range all {
		g.Go(func() error { return h.Unlock(ctx) })
	}
	return g.Wait()
}
