// Package bench has Go benchmarks for every cost of a lock that matters, on
// embedded nodes, which show what the library itself costs, and on real servers,
// which this machine has to feed as well.
//
//	go test -run '^$' -bench . ./bench
//	go test -run '^$' -bench Crowd/512/redis -cpuprofile cpu.out ./bench
//
// Beside Go's own columns they report percentiles from HDR histograms. Compare them
// within one run, or with benchstat. How redlock does beside its peers is measured by
// bench/peers.
package bench
