package sim

// eventKind says what an event is to do.
type eventKind uint8

const (
	evRequest  eventKind = iota + 1 // a request arrives at a node
	evReply                         // a reply arrives at a client
	evReset                         // a client learns that a request's connection broke
	evTimer                         // an attempt's timer
	evTimeout                       // the calls of an attempt run into their deadline
	evLock                          // a client's program asks for the lock
	evRetry                         // a client's waiter tries again
	evHandover                      // a lease reaches its user
	evCheck                         // the holder looks at its lease before it writes
	evWrite                         // and then writes
	evArrive                        // the write arrives at the resource
	evExtend                        // the user extends
	evUnlock                        // the user unlocks
	evCancel                        // the user gives up waiting
	evNudge                         // a client's program asks at once
	evFault                         // a fault begins
	evMend                          // a fault ends
	evHeal                          // all faults end
)

// event is a small value; what does not fit is in the world's messages.
type event struct {
	at   Time
	seq  uint32 // among equal times, first come, first served
	kind eventKind
	who  int16  // client, or node for evRequest
	a, b uint32 // by kind: message, attempt, generation, fault
}

func (e *event) before(f *event) bool {
	return e.at < f.at || e.at == f.at && e.seq < f.seq
}

// queue is a heap of four children: flatter than two, and its children share a
// cache line or two.
type queue struct {
	heap []event
	seq  uint32
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := q.heap
	top := h[0]
	last := h[len(h)-1]
	h = h[:len(h)-1]
	q.heap = h
	if len(h) > 0 {
		q.sink(last)
	}
	return top
}

// sink puts e in the root's place, or below.
func (q *queue) sink(e event) {
	h := q.heap
	i := 0
	for {
		child := 4*i + 1
		if child >= len(h) {
			break
		}
		least := child
		for j := child + 1; j < min(child+4, len(h)); j++ {
			if h[j].before(&h[least]) {
				least = j
			}
		}
		if !h[least].before(&e) {
			break
		}
		h[i] = h[least]
		i = least
	}
	h[i] = e
}
