// Package measure has the arithmetic of the benchmark: medians, ratios, latencies
// and what the client's process has used.
package measure

import (
	"math"
	"slices"
)

// Median is the middle of the values, or the mean of the two in the middle. It is
// NaN if there are none; values that are NaN themselves do not count.
func Median(values []float64) float64 {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return math.NaN()
	}
	slices.Sort(sorted)
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Ratio is the median of the ratios a/b of the same round: what a neighbour on the
// machine does to a round it does to both. Rounds that only one of them has do not
// count. It is NaN if no round is left.
func Ratio(a, b map[int]float64) float64 {
	var ratios []float64
	for round, x := range a {
		if y, ok := b[round]; ok && y != 0 {
			ratios = append(ratios, x/y)
		}
	}
	return Median(ratios)
}
