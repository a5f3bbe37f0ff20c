package measure

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 4}, 4},
		{[]float64{9, 1, 4, 2}, 3},
		{[]float64{math.NaN(), 5, math.NaN(), 7}, 6},
	} {
		before := append([]float64(nil), c.values...)
		if got := Median(c.values); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.values, got, c.want)
		}
		for i, v := range before {
			if c.values[i] != v && !math.IsNaN(v) {
				t.Errorf("Median changed its argument to %v", c.values)
			}
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("Median of nothing = %v, want NaN", got)
	}
}

// A round in which the machine was ten times slower says the same of two lockers
// as the others do. The ratio of the medians would not.
func TestRatioComparesWithinARound(t *testing.T) {
	ours := map[int]float64{0: 10, 1: 100, 2: 12, 3: 9}
	theirs := map[int]float64{0: 20, 1: 200, 2: 24, 4: 1}
	if got := Ratio(ours, theirs); got != 0.5 {
		t.Errorf("Ratio = %v, want 0.5", got)
	}
	if got := Ratio(ours, map[int]float64{7: 1}); !math.IsNaN(got) {
		t.Errorf("Ratio without a common round = %v, want NaN", got)
	}
	if got := Ratio(ours, map[int]float64{0: 0, 1: 50}); got != 2 {
		t.Errorf("Ratio = %v, want 2: a zero is no basis", got)
	}
}

func TestLatencies(t *testing.T) {
	var all Latencies
	for i := range 100 {
		all.Add(time.Duration(i+1) * time.Microsecond)
	}
	var more Latencies
	more.Add(time.Millisecond)
	q := Merge(&all, &more)
	if p50 := q.Micros(50); math.Abs(p50-51) > 1 {
		t.Errorf("p50 = %v µs, want about 51", p50)
	}
	if p100 := q.Micros(100); math.Abs(p100-1000) > 1 {
		t.Errorf("the largest = %v µs, want about 1000", p100)
	}
	if p := Merge().Micros(50); !math.IsNaN(p) {
		t.Errorf("p50 of nothing = %v, want NaN", p)
	}
}
