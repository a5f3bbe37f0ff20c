package protocol

// AppendState appends what an attempt's future depends on, but for what it knows
// of single nodes and for times: for an explorer that compares states of worlds
// in which no time passes.
func (a *Attempt) AppendState(b []byte) []byte {
	b = append(b, byte(a.phase))
	return appendUint64(b, a.token)
}

// AppendSeat appends what it knows of one node, in the same sense, but for what
// only releases depend on.
func (a *Attempt) AppendSeat(b []byte, node int) []byte {
	s := &a.seats[node]
	var flags byte
	for i, set := range []bool{s.answered, s.granted, s.stored} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, byte(s.op), byte(s.outcome), flags)
	return appendUint64(b, s.fence)
}

func appendUint64(b []byte, n uint64) []byte {
	for range 8 {
		b = append(b, byte(n))
		n >>= 8
	}
	return b
}
