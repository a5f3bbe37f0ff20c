package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// Result is a judged run.
type Result struct {
	Record *Record
	Report sim.Report

	Faults      map[string]int // by kind
	Linear      string         // porcupine's opinion: "agrees", "disagrees" or "cannot say"
	Calm, Rough Latency        // of locks taken while no fault was in force, and while one was
	Gap         time.Duration  // the longest time without a lease after faults had ended
	Leftover    int            // keys left behind
	Growth      []string       // what grew in the clients that should not
}

// Latency is the distribution of the time that Lock took.
type Latency struct {
	N                  int
	P50, P99, P999, At time.Duration // At is the maximum
}

// porcupinePatience bounds a second opinion that may take for ever.
const porcupinePatience = 20 * time.Second

const disagrees = "says that no single lock could have given these leases"

// Judge judges a record.
func (rec *Record) Judge() *Result {
	cfg := *rec.Config
	cfg.Record = !rec.Soak // a picture of an hour shows nothing; see window
	res := &Result{Record: rec, Report: sim.Judge(cfg, rec.Epoch, rec.History), Faults: map[string]int{}}
	if rec.Without != "" {
		// What is left out is the client's, and outside the simulator's worlds.
		res.Report.Config.Without, _ = sim.ParseDefence(rec.Without)
	}
	res.measure()
	res.Growth = growth(rec.Samples, rec.Length)
	for _, d := range rec.History {
		if d.Kind == sim.Remains {
			res.Leftover++
		}
	}
	switch ok, known := res.Report.Linearizable(porcupinePatience); {
	case !known:
		res.Linear = "cannot say"
	case ok:
		res.Linear = "agrees that one lock could have given these leases"
	default:
		res.Linear = disagrees
	}
	return res
}

// measure finds latencies and gaps, by whether a fault was in force.
func (res *Result) measure() {
	var calm, rough []time.Duration
	asked := map[uint64]time.Duration{}
	force := map[string]int{}
	forced := 0
	var healed, last time.Duration = -1, 0
	for _, d := range res.Record.History {
		switch d.Kind {
		case sim.Asks:
			asked[d.Lease] = d.At
		case sim.Strikes:
			res.Faults[kindOf(d.Fault)]++
			if lasts(d.Fault) {
				force[d.Fault]++
				forced++
			}
			healed = -1
		case sim.Mends:
			if force[d.Fault] > 0 {
				force[d.Fault]--
				forced--
			}
			if forced == 0 {
				healed, last = d.At, d.At
			}
		case sim.Heals:
			forced, force = 0, map[string]int{}
			healed, last = d.At, d.At
		case sim.Takes:
			if forced > 0 {
				rough = append(rough, d.At-asked[d.Lease])
			} else {
				calm = append(calm, d.At-asked[d.Lease])
			}
			if healed >= 0 {
				res.Gap = max(res.Gap, d.At-last)
				last = d.At
			}
		}
	}
	res.Calm, res.Rough = latencyOf(calm), latencyOf(rough)
}

func kindOf(fault string) string {
	f, err := sim.ParseFault(fault)
	if err != nil {
		return "unknown"
	}
	target := "link"
	switch {
	case f.Store:
		target = "store"
	case f.Node == nobody:
		target = "client"
	case f.Client == nobody:
		target = "node"
	}
	text := f.Verb.String() + " " + target
	if f.LosesAll {
		text += " losing all"
	} else if f.Losing > 0 {
		text += " with an old copy"
	}
	return text
}

// lasts says that a fault goes on until it is mended.
func lasts(fault string) bool {
	f, err := sim.ParseFault(fault)
	return err == nil && f.For > 0
}

func latencyOf(d []time.Duration) Latency {
	if len(d) == 0 {
		return Latency{}
	}
	slices.Sort(d)
	at := func(permille int) time.Duration { return d[min(len(d)-1, len(d)*permille/1000)] }
	return Latency{N: len(d), P50: at(500), P99: at(990), P999: at(999), At: d[len(d)-1]}
}

func (l Latency) String() string {
	if l.N == 0 {
		return "none"
	}
	return fmt.Sprintf("%d; p50 %v, p99 %v, longest %v", l.N, round(l.P50), round(l.P99), round(l.At))
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	unit := time.Microsecond
	for unit*1000 < d {
		unit *= 10
	}
	return d.Round(unit)
}

// Lines are the figures of a run, in words.
func (res *Result) Lines() []string {
	s := &res.Report.Stats
	var faults []string
	for _, kind := range slices.SortedFunc(maps.Keys(res.Faults), cmp.Compare[string]) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, res.Faults[kind]))
	}
	text := "none"
	if len(faults) > 0 {
		text = strings.Join(faults, ", ")
	}
	length := res.Record.Length.Round(10 * time.Millisecond).String()
	if planned := res.Record.Config.HealAt; res.Record.Soak && res.Record.Length < planned {
		length += fmt.Sprintf(" (cut short: %v were planned)", planned)
	}
	lines := []string{
		fmt.Sprintf("%d nodes (%s), %d clients, seed %d, %s.", res.Report.Config.Nodes, res.Record.Quorum, res.Report.Config.Clients, res.Record.Seed, length),
		fmt.Sprintf("%d leases, %d renewals; %d lost in time, %d attempts without a quorum, %d calls given up for it, %d declined.", s.Acquired, s.Renewals, s.Losses, s.Failed, s.GaveUp, s.Cancelled),
		fmt.Sprintf("%d writes arrived: the fenced store refused %d, the other lost %d updates.", s.Accepted+s.Rejected, s.Rejected, s.LostUpdates),
		fmt.Sprintf("Faults: %s.", text),
		fmt.Sprintf("Time to lock, no fault in force: %v. While one was: %v.", res.Calm, res.Rough),
		fmt.Sprintf("Longest time without a lease after faults had ended: %v. Left behind: %d keys.", round(res.Gap), res.Leftover),
		"porcupine " + res.Linear + ".",
	}
	for _, v := range res.Report.Violations {
		if v.Beyond != "" {
			lines = append(lines, fmt.Sprintf("Outside the assumptions, since %s: %v: %s.", v.Beyond, v.Invariant, v.Text))
		}
	}
	for _, g := range res.Growth {
		lines = append(lines, "GROWS: "+g)
	}
	return lines
}

// Headline is the verdict in a sentence.
func (res *Result) Headline() string { return res.Report.Headline() }
