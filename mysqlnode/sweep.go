package mysqlnode

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// sweepEvery is how often a node looks for what may go.
	sweepEvery = 10 * time.Second

	// sweepBatch bounds what one transaction deletes, and sweepPage the rows
	// that are looked at for it.
	sweepBatch = 500
	sweepPage  = 500

	// sweepBatches bounds what a sweep does in all. At its rate a node clears
	// away the tombstones of 2000 releases a second.
	sweepBatches = 40
)

// sweeper clears away, in passing and in the background, what nobody can need
// any more: tombstones after their retention, and rows of keys that have been idle
// for theirs. Each node goes about it by itself; two do no harm.
type sweeper struct {
	mu     sync.Mutex
	closed bool
	next   time.Duration // local instant
	busy   bool
	done   sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc
	after  string // the key up to which rows have been looked at
}

func (s *sweeper) init(now time.Duration) {
	s.next = now + sweepEvery
	s.ctx, s.cancel = context.WithCancel(context.Background())
}

func (s *sweeper) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.done.Wait()
}

// begin reports whether a sweep is due; end must follow it then.
func (s *sweeper) begin(now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.busy || now < s.next {
		return false
	}
	s.busy, s.next = true, now+sweepEvery
	s.done.Add(1)
	return true
}

func (s *sweeper) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	s.done.Done()
}

// sweep starts a sweep if one is due. What goes wrong is left to the next.
func (n *Node) sweep() {
	if n.noTable || !n.sweeper.begin(n.clock.Now()) {
		return
	}
	go func() {
		defer n.sweeper.end()
		ctx, cancel := n.clock.WithTimeout(n.sweeper.ctx, callTimeout)
		defer cancel()
		_ = n.sweepReleased(ctx)
		_ = n.sweepRows(ctx)
	}()
}

// sweepReleased deletes the oldest of the tombstones that have had their time.
func (n *Node) sweepReleased(ctx context.Context) error {
	var q query
	n.begin(&q)
	q.add("DELETE FROM %s WHERE expiry<%s ORDER BY expiry LIMIT %d", n.tables.released, nowExpr, sweepBatch)
	q.add("SET %s=ROW_COUNT(),%s=x'',%s=0,%s=%s,%s=0", varFence, varOwner, varExpiry, varNow, nowExpr, varConn)
	n.commit(&q)
	q.answer(answerParts{yes: "1", counter: "0"})
	for range sweepBatches {
		a, err := n.ask(ctx, q.String())
		if err != nil || a.fence < sweepBatch {
			return err
		}
	}
	return nil
}

// sweepRows looks at the next page of rows, without locking them, and deletes
// those of long idle keys by their names. Whether one is idle still is decided
// again with its row locked. A row's expiry is that of its last grant.
func (n *Node) sweepRows(ctx context.Context) error {
	idle := fmt.Sprintf("expiry<%s-%d", nowExpr, n.retention)
	rows, err := n.db.QueryContext(ctx, fmt.Sprintf("SELECT k,%s FROM %s WHERE k>%s ORDER BY k LIMIT %d",
		idle, n.tables.rows, binary(n.sweeper.after), sweepPage))
	if err != nil {
		return err
	}
	defer rows.Close()
	var old []string
	count, last := 0, ""
	for rows.Next() {
		var isOld bool
		if err := rows.Scan(&last, &isOld); err != nil {
			return err
		}
		if isOld {
			old = append(old, binary(last))
		}
		count++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(old) > 0 {
		var q query
		n.begin(&q)
		q.add("DELETE FROM %s WHERE k IN (%s) AND %s", n.tables.rows, strings.Join(old, ","), idle)
		q.add("SET %s=0,%s=x'',%s=0,%s=%s,%s=0", varFence, varOwner, varExpiry, varNow, nowExpr, varConn)
		n.commit(&q)
		q.answer(answerParts{yes: "1", counter: "0"})
		if _, err := n.ask(ctx, q.String()); err != nil {
			return err
		}
	}
	if n.sweeper.after = last; count < sweepPage {
		n.sweeper.after = ""
	}
	return nil
}
