package chaos

import (
	"fmt"
	"slices"
	"time"
)

// metric is one thing that a client's process takes of the machine, and how much
// more of it at the end than at first is no leak.
type metric struct {
	name  string
	unit  string
	of    func(*Sample) float64
	slack float64
}

var metricsOf = []metric{
	{"memory (RSS)", "MB", func(s *Sample) float64 { return float64(s.RSS) / (1 << 20) }, 16},
	{"Go heap in use", "MB", func(s *Sample) float64 { return float64(s.Heap) / (1 << 20) }, 6},
	{"goroutines", "", func(s *Sample) float64 { return float64(s.Goroutines) }, 60},
	{"file descriptors", "", func(s *Sample) float64 { return float64(s.Files) }, 30},
	{"connections", "", func(s *Sample) float64 { return float64(s.Conns) }, 30},
}

// enoughSamples is from how many on a trend can be told.
const enoughSamples = 40

// growth compares the last quarter of a process's life with the second one: medians,
// for every fault makes peaks. Half as much again, and some, is no trend.
func growth(samples []Sample, _ time.Duration) []string {
	type life struct{ client, life int }
	lives := map[life][]Sample{}
	for _, s := range samples {
		l := life{s.Client, s.Life}
		lives[l] = append(lives[l], s)
	}
	var out []string
	for l, all := range lives {
		if len(all) < enoughSamples {
			continue
		}
		quarter := len(all) / 4
		for _, m := range metricsOf {
			early, late := median(all[quarter:2*quarter], m.of), median(all[3*quarter:], m.of)
			if late > 1.5*early+m.slack {
				out = append(out, fmt.Sprintf("%s of c%d, from %.1f to %.1f %s in its median", m.name, l.client+1, early, late, m.unit))
			}
		}
	}
	slices.Sort(out)
	return out
}

func median(samples []Sample, of func(*Sample) float64) float64 {
	var all []float64
	for i := range samples {
		all = append(all, of(&samples[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
