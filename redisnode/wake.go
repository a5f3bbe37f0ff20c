package redisnode

import (
	"time"

	"github.com/quorumlock/redlock"
)

var _ redlock.Waker = (*Node)(nil)

// Watch implements redlock.Waker. A node without a stream never calls.
func (n *Node) Watch(_, waiter string, wake func()) (stop func()) {
	s := n.stream
	if s == nil {
		return func() {}
	}
	s.wakesMu.Lock()
	defer s.wakesMu.Unlock()
	s.wakes[waiter] = wake
	return func() {
		s.wakesMu.Lock()
		defer s.wakesMu.Unlock()
		delete(s.wakes, waiter)
	}
}

// called is told of a message: a waiter's id and the name of the lock that was
// set aside for it.
func (s *stream) called(message string) {
	if len(message) <= redlock.WaiterLength {
		return
	}
	waiter, lock := message[:redlock.WaiterLength], message[redlock.WaiterLength:]
	s.wakesMu.Lock()
	wake := s.wakes[waiter]
	s.wakesMu.Unlock()
	if wake != nil {
		wake()
		return
	}
	// Whoever waited is gone. What was set aside goes to the next.
	if key, ok := keyOf(s.node.prefix, lock); ok {
		s.submit(&redlock.Call{Op: redlock.OpRelease, Key: key, Owner: setAside + waiter,
			Timeout: time.Second, Ordered: true, Wake: true, Done: func(*redlock.Call) {}})
	}
}

// setAside begins the owner of a key that is set aside for a waiter.
const setAside = "~"
