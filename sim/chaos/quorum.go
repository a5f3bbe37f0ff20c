package chaos

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorumlock/redlock/sim"
)

// quorums are the kinds of nodes that a quorum is made of, over and over, by the
// names that stories know them by.
var quorums = []struct {
	name  string
	kinds []sim.Kind
}{
	{"redis", []sim.Kind{sim.TTLServer}},
	{"mysql", []sim.Kind{sim.LeaseRow}},
	{"session", []sim.Kind{sim.SessionLock}},
	{"zk", []sim.Kind{sim.EphemeralNode}},
	{"mixed", []sim.Kind{sim.TTLServer, sim.LeaseRow, sim.EphemeralNode, sim.SessionLock, sim.TTLServer}},
}

// Quorums are the names of the quorums there are.
func Quorums() []string {
	var names []string
	for _, q := range quorums {
		names = append(names, q.name)
	}
	return names
}

// kindsOf gives the kind of each node of a quorum.
func kindsOf(quorum string, nodes int) ([]sim.Kind, error) {
	for _, q := range quorums {
		if q.name == quorum {
			var kinds []sim.Kind
			for i := range nodes {
				kinds = append(kinds, q.kinds[i%len(q.kinds)])
			}
			return kinds, nil
		}
	}
	return nil, fmt.Errorf("chaos: there is no quorum %q: use %s", quorum, strings.Join(Quorums(), ", "))
}

// impossible says why a fault cannot befall real processes and servers of a kind,
// or nothing.
func impossible(f *sim.Fault, kinds []sim.Kind) string {
	ofClient := f.Client != nobody && f.Node == nobody && !f.Store
	switch f.Verb {
	case sim.Suspend:
		return "a machine cannot be suspended from inside"
	case sim.Clone, sim.Move:
		return "a process cannot be copied, nor be given other nodes"
	case sim.Lose, sim.Repeat:
		return "a stream has no messages to lose or repeat"
	case sim.Jump, sim.Drift:
		if ofClient {
			return "a client's clock is the machine's"
		}
	case sim.Evict, sim.Flush, sim.Full, sim.Failover:
		for _, i := range indices(f.Node, len(kinds)) {
			if kinds[i] != sim.TTLServer {
				return f.Verb.String() + " is for Redis"
			}
		}
	}
	switch {
	case f.On == "confirms" || f.On == "starts" && f.At == 0:
		return "no program sees when an attempt " + f.On
	case f.On == "queues" || f.On == "called" || f.On == "passes":
		return "no program sees a client's place in the queues of nodes, nor how it passes leases on"
	}
	return ""
}

// check refuses what real processes and servers cannot have part in.
func (p *Plan) check() error {
	cfg := &p.Config
	for i := range cfg.Faults {
		if why := impossible(&cfg.Faults[i], cfg.Kinds); why != "" {
			return fmt.Errorf("chaos: %s: %v: %s", p.Name, &cfg.Faults[i], why)
		}
	}
	several := func(w sim.Work) bool { return w.Users > 1 }
	switch {
	case several(cfg.Work) || slices.ContainsFunc(cfg.Plans, several):
		return fmt.Errorf("chaos: %s: users: each client of a story has one program here; redlock chaos soak has clients with many", p.Name)
	case cfg.Members != 0:
		return fmt.Errorf("chaos: %s: members: all clients know all nodes here", p.Name)
	}
	return nil
}

// nobody and everybody in a fault.
const (
	nobody    = -1
	everybody = -2
)

// indices are those that a fault names.
func indices(index, n int) []int {
	switch {
	case index >= 0:
		return []int{index}
	case index == everybody:
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return nil
}

// needsClocks says that a story sets servers' clocks.
func needsClocks(cfg *sim.Config) bool {
	return slices.ContainsFunc(cfg.Faults, func(f sim.Fault) bool { return f.Verb == sim.Jump || f.Verb == sim.Drift })
}
