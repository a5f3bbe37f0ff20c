package mysqlnode

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// callTimeout ends calls whose context has no deadline.
const callTimeout = 5 * time.Second

// call checks, bounds and explains an operation.
func call[T any](ctx context.Context, n *Node, op, key, owner string, f func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if err := n.check(key, owner); err != nil {
		return none, n.explain(op, err)
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	value, err := within(ctx, func() (T, error) { return f(ctx) })
	if err != nil {
		return none, n.explain(op, err)
	}
	n.sweep()
	return value, nil
}

func (n *Node) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return n.clock.WithTimeout(ctx, callTimeout)
}

// within makes a call and returns when it ends or its context does. The driver
// ends calls with their contexts, but one that wraps it may not.
func within[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	results := make(chan result, 1)
	go func() {
		value, err := call()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		if ended := ctx.Err(); r.err != nil && ended != nil && !errors.Is(r.err, ended) {
			return none, fmt.Errorf("%w (%w)", ended, r.err)
		}
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// ask runs a text on a session of the pool.
func (n *Node) ask(ctx context.Context, text string) (answer, error) {
	a, conn, err := n.askKeeping(ctx, text)
	if err == nil {
		_ = conn.Close() // back to the pool
	}
	return a, err
}

// askKeeping runs a text and leaves the session it ran in to the caller.
//
// It repeats what certainly was not done: a transaction that the server rolled
// back for a deadlock or after a second's wait for a row, and a text that met a
// connection which had ended before.
func (n *Node) askKeeping(ctx context.Context, text string) (answer, *sql.Conn, error) {
	stale := n.db.Stats().Idle + 2
	for {
		conn, err := n.db.Conn(ctx)
		if err != nil {
			return answer{}, nil, &dialError{err}
		}
		a, err := n.askOn(ctx, conn, text, "")
		if err == nil {
			return a, conn, nil
		}
		discard(conn)
		switch {
		case ctx.Err() != nil:
			return answer{}, nil, err
		case rolledBack(err):
		case errors.Is(err, driver.ErrBadConn) && stale > 0:
			stale--
		default:
			return answer{}, nil, err
		}
	}
}

// askOn runs a text in a session. The life is the server's, if it is known.
func (n *Node) askOn(ctx context.Context, conn *sql.Conn, text, life string) (answer, error) {
	sent := n.clock.Now()
	always := life == "" && (n.mode == Session || n.proxied)
	if always {
		text += ";" + uptimeText
	}
	a, err := n.query(ctx, conn, text, always)
	if err != nil {
		return answer{}, err
	}
	if life == "" {
		life = a.life
	}
	if always {
		life = n.identity.recall(a.place, a.started)
	}
	if life == "" {
		if life, err = n.identify(ctx, conn, !always); err != nil {
			return answer{}, err
		}
	}
	a.life = life
	a.identified = n.identity.learn(life, a.clock, sent, n.clock.Now())
	if n.durable || n.mode == Lease && a.durable && !a.moved {
		a.age = 0
	}
	return a, nil
}

// query reads all results of a text, as errors of its later statements come after
// the results of earlier ones.
func (n *Node) query(ctx context.Context, conn *sql.Conn, text string, uptime bool) (answer, error) {
	rows, err := conn.QueryContext(ctx, text)
	if err != nil {
		return answer{}, err
	}
	defer rows.Close()
	a, err := scanAnswer(rows, n.mode)
	if err != nil {
		return answer{}, err
	}
	if uptime {
		if a.started, err = scanStart(rows, a.asked); err != nil {
			return answer{}, err
		}
	}
	for rows.NextResultSet() {
		continue
	}
	return a, rows.Err()
}

// discard ends a connection for good. It never goes back to the pool, whatever
// was left undone on it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close() // it is closed already, or was never usable
}
