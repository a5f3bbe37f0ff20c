package mysqlnode

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

// grants are the owners that a node of session locks knows: those that hold a key,
// by a connection of their own, and those that have released one.
type grants struct {
	mu     sync.Mutex
	closed bool
	byID   map[grantID]*grant
	graves []*grant // released, in the order they may be forgotten
}

type grantID struct{ key, owner string }

// grant is one owner's business with one key. What its turn guards may be used by
// the call that has taken the turn.
type grant struct {
	id   grantID
	turn chan struct{}

	// Guarded by the turn; conn is also changed under grants.mu, so that either
	// does for looking at it.
	conn    *sql.Conn // has the server's lock, and does nothing else; nil if nothing is held
	number  int64     // the server's, of the latest such connection
	life    string    // of the server
	fence   uint64
	counter uint64
	until   time.Duration // local instant at which the TTL has passed
	timer   redlock.Timer

	// Guarded by grants.mu.
	users    int // calls at work
	released bool
	forget   time.Duration      // local instant
	cancel   context.CancelFunc // of the call under way
}

func (s *grants) init() { s.byID = map[grantID]*grant{} }

// get gives an owner's grant, new if need be, to a call; put must follow.
func (s *grants) get(key, owner string, now time.Duration) *grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bury(now)
	id := grantID{key, owner}
	g := s.byID[id]
	if g == nil {
		g = &grant{id: id, turn: make(chan struct{}, 1)}
		s.byID[id] = g
	}
	g.users++
	return g
}

func (s *grants) put(g *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.users--
	s.drop(g)
}

// drop forgets a grant that says nothing any more.
func (s *grants) drop(g *grant) {
	if g.users == 0 && g.conn == nil && !g.released {
		delete(s.byID, g.id)
	}
}

// bury forgets those whose release is long past.
func (s *grants) bury(now time.Duration) {
	for len(s.graves) > 0 && s.graves[0].forget <= now {
		g := s.graves[0]
		s.graves[0] = nil
		s.graves = s.graves[1:]
		g.released = false
		s.drop(g)
	}
}

// release bars an owner, and ends a call of its that is under way.
func (s *grants) release(g *grant, forget time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.cancel != nil {
		g.cancel()
	}
	if !g.released {
		g.released, g.forget = true, forget
		s.graves = append(s.graves, g)
	}
}

// begin notes that a call is under way, unless the owner has released or the node
// is closed.
func (s *grants) begin(g *grant, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.released || s.closed {
		return false
	}
	g.cancel = cancel
	return true
}

// end notes that a call has ended. An acquire gives the connection that has the
// lock; it reports false if nobody may have it any more.
func (s *grants) end(g *grant, conn *sql.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.cancel = nil
	if conn == nil || g.released || s.closed {
		return false
	}
	g.conn = conn
	return true
}

// take takes the connection away from a grant, to be closed. It is called with
// the grant's turn.
func (s *grants) take(g *grant) *sql.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := g.conn
	g.conn = nil
	if g.timer != nil {
		g.timer.Stop()
	}
	s.drop(g)
	return conn
}

// close ends all grants, and lets none be made.
func (s *grants) close() {
	s.mu.Lock()
	s.closed = true
	var held []*grant
	for _, g := range s.byID {
		if g.cancel != nil {
			g.cancel()
		}
		held = append(held, g)
	}
	s.mu.Unlock()
	for _, g := range held {
		g.turn <- struct{}{}
		s.finish(g)
		<-g.turn
	}
}

// finish closes the connection of a grant, if it has one: the server frees the
// key. It is called with the grant's turn.
func (s *grants) finish(g *grant) {
	if conn := s.take(g); conn != nil {
		discard(conn)
	}
}

// lock waits for the grant's turn.
func (g *grant) lock(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *grant) unlock() { <-g.turn }
