package protocol

// State is what an attempt's future depends on, but for what it knows of single
// nodes and for times: for an explorer that compares states of worlds in which no
// time passes.
func (a *Attempt) State() uint64 { return uint64(a.phase)<<56 | a.token }

// SeatState is what it knows of one node, in the same sense, but for what only
// releases depend on.
func (a *Attempt) SeatState(node int) uint64 {
	s := &a.seats[node]
	state := uint64(s.op)<<3 | uint64(s.outcome)
	for _, set := range []bool{s.answered, s.granted, s.stored} {
		state <<= 1
		if set {
			state |= 1
		}
	}
	return state<<53 | s.fence
}
