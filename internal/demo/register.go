package demo

import "sync"

// register is a resource that the lock protects: one value, written by whoever
// holds the lock. A fenced one remembers the largest token that it has seen and
// refuses smaller ones; that is all a resource has to do.
type register struct {
	fenced bool

	mu       sync.Mutex
	largest  uint64
	writer   string // of the value
	accepted int    // writes
	stale    int    // writes with a token smaller than one seen before
}

// write reports whether the register took the value.
func (r *register) write(token uint64, writer string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.largest {
		r.stale++
		if r.fenced {
			return false
		}
	}
	r.largest = max(r.largest, token)
	r.writer = writer
	r.accepted++
	return true
}

// by is who wrote the value.
func (r *register) by() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writer
}

// newest is the largest token seen.
func (r *register) newest() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.largest
}

// staleWrites counts the writes of those whose lease was over: refused by a
// fenced register, taken by another, which lost the newer value thereby.
func (r *register) staleWrites() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stale
}
