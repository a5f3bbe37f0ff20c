package sim_test

import (
	"fmt"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// A fleet of your own: what if the holder's process stands still for 15 seconds,
// just before it writes?
func ExampleRun() {
	pause, err := sim.ParseFault("on c1 checks#2 pause c1 for 15s")
	if err != nil {
		fmt.Println(err)
		return
	}
	report := sim.Run(sim.Config{
		Seed:   1,
		Nodes:  5,
		TTL:    10 * time.Second,
		Faults: []sim.Fault{pause},
		HealAt: time.Minute,
		Work:   sim.Work{Hold: 20 * time.Second, WriteEvery: time.Second, Times: 1, Exact: true},
	})
	fmt.Println(report.Verdict)
	fmt.Println(report.Stats.LostUpdates, "update lost without tokens,", report.Stats.Rejected, "stale write refused with them")
	// Output:
	// unsafe without fencing
	// 1 update lost without tokens, 1 stale write refused with them
}
