package mysqlnode

import (
	"context"
	"database/sql"
	"time"

	"github.com/quorumlock/redlock"
)

// A session lock is a connection that has the server's lock. The server knows no
// TTL; two ends are put to it: the client closes the connection once the TTL has
// passed, and the server closes one that has been idle for a little longer, in
// case the client cannot.

// killPause is between looks at whether a connection that was killed has ended.
const killPause = 5 * time.Millisecond

func (n *Node) sessionAcquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	g := n.grants.get(req.Key, req.Owner, n.clock.Now())
	defer n.grants.put(g)
	if err := g.lock(ctx); err != nil {
		return redlock.Vote{}, err
	}
	defer g.unlock()
	if n.standing(g) {
		vote, lost, err := n.askGrant(ctx, g, n.extendText(g, req.TTL))
		if err == nil && vote.Granted {
			n.prolong(g, req.TTL)
		}
		if !lost {
			return vote, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !n.grants.begin(g, cancel) {
		return n.look(ctx, req.Key)
	}
	return n.seize(ctx, g, req)
}

// seize tries to get the server's lock.
func (n *Node) seize(ctx context.Context, g *grant, req redlock.AcquireRequest) (redlock.Vote, error) {
	const tries = 3 // whoever has it may give it up before it can be seen who that is
	var a answer
	for range tries {
		var conn *sql.Conn
		var err error
		if a, conn, err = n.askKeeping(ctx, n.sessionAcquireText(req)); err != nil {
			n.grants.end(g, nil)
			return redlock.Vote{}, err
		}
		switch {
		case a.yes && n.grants.end(g, conn):
			n.hold(g, a, req.TTL)
			return a.vote(), nil
		case a.yes:
			discard(conn) // released, or closed, meanwhile
			return n.look(ctx, req.Key)
		case a.got:
			discard(conn) // the lock has been given up; its wait_timeout has not
		default:
			_ = conn.Close() // back to the pool
		}
		if a.got || a.held {
			break
		}
	}
	n.grants.end(g, nil)
	return n.refusal(a), nil
}

// hold takes note of a grant and winds the clock that ends it.
func (n *Node) hold(g *grant, a answer, ttl time.Duration) {
	g.number, g.life, g.fence, g.counter = a.conn, a.life, a.fence, a.counter
	g.until = 0
	n.prolong(g, ttl)
	g.timer = n.clock.AfterFunc(ttl, func() { n.expire(g) })
}

func (n *Node) prolong(g *grant, ttl time.Duration) {
	// From the answer on, which is later than when the server made the grant.
	g.until = max(g.until, n.clock.Now()+ttl)
}

// expire ends a grant whose TTL has passed.
func (n *Node) expire(g *grant) {
	g.turn <- struct{}{}
	defer g.unlock()
	if g.conn == nil {
		return
	}
	if left := g.until - n.clock.Now(); left > 0 {
		g.timer = n.clock.AfterFunc(left, func() { n.expire(g) })
		return
	}
	n.grants.finish(g)
}

// standing reports whether a grant is held, as far as this side can tell. One
// whose TTL has passed is ended here if its timer is late.
func (n *Node) standing(g *grant) bool {
	if g.conn != nil && n.clock.Now() >= g.until {
		n.grants.finish(g)
	}
	return g.conn != nil
}

func (n *Node) sessionConfirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	return n.onGrant(ctx, req.Key, req.Owner, req.Fence,
		func(g *grant) string { return n.confirmText(g, req.Token) },
		func(g *grant) { g.counter = max(g.counter, req.Token) })
}

func (n *Node) sessionExtend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	return n.onGrant(ctx, req.Key, req.Owner, req.Fence,
		func(g *grant) string { return n.extendText(g, req.TTL) },
		func(g *grant) { n.prolong(g, req.TTL) })
}

// onGrant runs a text on the connection of a grant, if there is that very one.
func (n *Node) onGrant(ctx context.Context, key, owner string, fence uint64, text func(*grant) string, granted func(*grant)) (redlock.Vote, error) {
	g := n.grants.get(key, owner, n.clock.Now())
	defer n.grants.put(g)
	if err := g.lock(ctx); err != nil {
		return redlock.Vote{}, err
	}
	defer g.unlock()
	if !n.standing(g) || g.fence != fence {
		return n.look(ctx, key)
	}
	vote, _, err := n.askGrant(ctx, g, text(g))
	if err == nil && vote.Granted {
		granted(g)
	}
	return vote, err
}

// askGrant runs a text on the connection of a grant. A connection that fails is
// closed, and the grant is lost with it: that is a refusal, and no error. What the
// server refuses by a reply leaves the lock as it is.
//
// The driver gives a call up by closing its connection, which would give up the
// lock as well. So a caller that has waited for long enough leaves the call to
// itself, until the TTL has passed, the owner releases or the node is closed.
func (n *Node) askGrant(caller context.Context, g *grant, text string) (vote redlock.Vote, lost bool, err error) {
	ctx, cancel := n.clock.WithTimeout(context.WithoutCancel(caller), g.until-n.clock.Now())
	defer cancel()
	if !n.grants.begin(g, cancel) {
		vote, err := n.look(caller, g.id.key)
		return vote, false, err
	}
	defer n.grants.end(g, nil)
	for {
		a, err := n.askOn(ctx, g.conn, text, g.life)
		switch {
		case err == nil && a.got && (a.yes || n.noTable):
			a.fence, a.counter = g.fence, max(a.counter, g.counter)
			return a.vote(), false, nil
		case err == nil:
			// The session does not have the lock: a proxy may have put another
			// one in its place. Or the row is not what this grant has written.
			n.grants.finish(g)
			return n.refusal(a), true, nil
		case isReply(err) && n.rollback(ctx, g):
			if caller.Err() == nil && rolledBack(err) {
				continue
			}
			return redlock.Vote{}, false, err
		}
		n.grants.finish(g)
		who := n.identity.latest(n.clock.Now())
		return redlock.Vote{Counter: g.counter, Incarnation: who.incarnation, Age: who.age}, true, nil
	}
}

func (n *Node) rollback(ctx context.Context, g *grant) bool {
	_, err := g.conn.ExecContext(ctx, "ROLLBACK")
	return err == nil
}

// look refuses, with what the server tells of the key.
func (n *Node) look(ctx context.Context, key string) (redlock.Vote, error) {
	a, err := n.ask(ctx, n.sessionInspect(key))
	if err != nil {
		return redlock.Vote{}, err
	}
	return n.refusal(a), nil
}

func (n *Node) refusal(a answer) redlock.Vote {
	a.yes = false
	return a.vote()
}

func (n *Node) sessionRelease(ctx context.Context, req redlock.ReleaseRequest) error {
	now := n.clock.Now()
	g := n.grants.get(req.Key, req.Owner, now)
	defer n.grants.put(g)
	n.grants.release(g, now+time.Duration(n.tombstone)*time.Microsecond)
	if err := g.lock(ctx); err != nil {
		return err
	}
	defer g.unlock()
	if n.standing(g) {
		a, err := n.askOn(ctx, g.conn, n.freeText(req), g.life)
		n.grants.finish(g)
		if err == nil && a.got {
			return nil
		}
	}
	return n.evict(ctx, g)
}

// evict sees to it that no session has the lock for the owner, where none of ours
// does, or not certainly: it may be one whose connection broke, an acquire that
// was given up, or that of another process. Where it is not known who has the lock,
// the connection stands for its owner, as Inspect tells. It leaves a tombstone on the
// server.
func (n *Node) evict(ctx context.Context, g *grant) error {
	a, err := n.ask(ctx, n.buryText(g.id.key, g.id.owner))
	if err != nil {
		return err
	}
	itsOwn := a.used == a.writer && a.owner == g.id.owner || g.id.owner == connectionName(a.used)
	ours := a.used == g.number && a.life == g.life
	if a.used == 0 || !itsOwn && !ours {
		return nil
	}
	if err := n.kill(ctx, a.used); err != nil {
		return err
	}
	for victim := a.used; a.used == victim; {
		if err := n.pause(ctx, killPause); err != nil {
			return err
		}
		if a, err = n.ask(ctx, n.sessionInspect(g.id.key)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) pause(ctx context.Context, d time.Duration) error {
	done := make(chan struct{})
	timer := n.clock.AfterFunc(d, func() { close(done) })
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
