// Package sim runs the lock protocol that ships in a simulated world: clients
// with three clocks each, nodes with two, a network, and a resource that the
// lock protects. It injects the faults that break quorum locks, judges what
// happened, and shows it. It answers the question of somebody who has to decide:
// under which faults is this lock safe for me, and what do I see when it is not?
//
//	report := sim.Run(sim.Config{Nodes: 5, Clients: 3, Seed: 7, Faults: faults})
//	fmt.Println(report.Verdict)
//
// A world is one event loop. It has no goroutines, reads no clock, and takes
// every decision that could go either way from one seeded source, so the same
// Config gives the same events, and the same [Report.Hash], on every machine. The
// lock protocol in it is internal/protocol itself and not a model of it; only the
// world around it is modelled.
//
// The checkers share no arithmetic with the protocol. They see the world from
// outside, in true time, which nobody in it can read.
package sim
