package sim

// eventKind says what an event is to do.
type eventKind uint8

const (
	evRequest  eventKind = iota + 1 // a request arrives at a node
	evReply                         // a reply arrives at a client
	evReset                         // a client learns that a request's connection broke
	evAlarm                         // a timer or a deadline of a client's attempts
	evLock                          // a client's program asks for the lock
	evRetry                         // a client's waiter tries again
	evHandover                      // a lease reaches its user
	evCheck                         // the holder looks at its lease before it writes
	evWrite                         // and then writes
	evJoin                          // a user of a client stands in line
	evArrive                        // the write arrives at the resource
	evExtend                        // the user extends
	evUnlock                        // the user unlocks
	evCancel                        // the user gives up waiting
	evNudge                         // a client's program asks at once
	evFault                         // a fault begins
	evMend                          // a fault ends
	evHeal                          // all faults end
)

// event is a small value, of words that are kept in registers; what does not fit is
// in the world's messages.
type event struct {
	at    Time
	order uint64 // among equal times, first come, first served; then kind and who
	args  uint64 // by kind: message, attempt, generation, fault
}

// newEvent makes an event that happens to a client, or to a node for evRequest.
func newEvent(kind eventKind, who int, a, b uint32, at Time) event {
	return event{at: at, order: uint64(kind)<<16 | uint64(uint16(who)), args: uint64(a)<<32 | uint64(b)}
}

func (e event) kind() eventKind { return eventKind(e.order >> 16) }
func (e event) who() int        { return int(uint16(e.order)) }
func (e event) a() uint32       { return uint32(e.args >> 32) }
func (e event) b() uint32       { return uint32(e.args) }

// numbered is the event as the queue's next.
func (e event) numbered(n uint32) event {
	e.order = uint64(n)<<32 | e.order&(1<<32-1)
	return e
}

func (e event) before(f event) bool {
	return e.at < f.at || e.at == f.at && e.order < f.order
}

// queue has what is to happen, in order of time. The soonest are kept in order,
// where most events come and go: a message is seldom under way for long. The
// others are in a heap; and alarms, few of which come to anything, in one of their
// own.
type queue struct {
	near   []event // the soonest one last; empty only if far is
	far    heap    // none is sooner than any of near
	alarms heap
	seq    uint32
}

const mostNear = 32

func (q *queue) empty() bool { return len(q.near)+len(q.alarms) == 0 }

func (q *queue) push(e event) {
	q.seq++
	e = e.numbered(q.seq)
	switch {
	case e.kind() == evAlarm:
		q.alarms.push(e)
	case len(q.far) > 0 && q.near[0].before(e):
		q.far.push(e)
	default:
		q.insert(e)
	}
}

func (q *queue) insert(e event) {
	if len(q.near) == mostNear {
		for i := range mostNear / 2 {
			q.far.push(q.near[i])
		}
		q.near = q.near[:copy(q.near, q.near[mostNear/2:])]
		if q.near[0].before(e) {
			q.far.push(e)
			return
		}
	}
	q.near = append(q.near, e)
	i := len(q.near) - 1
	for i > 0 && q.near[i-1].before(e) {
		q.near[i] = q.near[i-1]
		i--
	}
	q.near[i] = e
}

func (q *queue) pop() event {
	last := len(q.near) - 1
	if last < 0 || len(q.alarms) > 0 && q.alarms[0].before(q.near[last]) {
		return q.alarms.pop()
	}
	e := q.near[last]
	q.near = q.near[:last]
	if last == 0 && len(q.far) > 0 {
		q.refill()
	}
	return e
}

func (q *queue) refill() {
	q.near = q.near[:min(mostNear/2, len(q.far))]
	for i := len(q.near) - 1; i >= 0; i-- {
		q.near[i] = q.far.pop()
	}
}

// heap has four children to a node: it is flatter than with two, and the four
// share a cache line or two.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	all := *h
	i := len(all) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(all[up]) {
			break
		}
		all[i] = all[up]
		i = up
	}
	all[i] = e
}

func (h *heap) pop() event {
	top := (*h)[0]
	last := len(*h) - 1
	e := (*h)[last]
	if *h = (*h)[:last]; last > 0 {
		h.sink(e)
	}
	return top
}

// sink puts e in the root's place, or below.
func (h *heap) sink(e event) {
	all := *h
	i := 0
	for {
		child := 4*i + 1
		if child >= len(all) {
			break
		}
		least := child
		for j := child + 1; j < min(child+4, len(all)); j++ {
			if all[j].before(all[least]) {
				least = j
			}
		}
		if !all[least].before(e) {
			break
		}
		all[i] = all[least]
		i = least
	}
	all[i] = e
}
