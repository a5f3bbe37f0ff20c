package workloads

import "testing"

func TestRounded(t *testing.T) {
	for v, want := range map[float64]float64{
		123456.789: 123460, 1.23456789: 1.2346, 0.000123456789: 0.00012346, -98765.4321: -98765, 100000: 100000, 7: 7,
	} {
		if got := rounded(v); got != want {
			t.Errorf("rounded(%v) = %v, want %v", v, got, want)
		}
	}
}

func TestEveryWorkloadCanBeChosenAndShown(t *testing.T) {
	names := map[string]bool{}
	for _, w := range All() {
		if names[w.Name] || w.Title == "" || len(w.Column) == 0 || w.Takes == nil || w.run == nil {
			t.Errorf("workload %q is not whole, or there twice", w.Name)
		}
		names[w.Name] = true
	}
}
