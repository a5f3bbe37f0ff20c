package mysqlnode

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// Every operation is one text of several statements, sent at once. What the
// statements hand to one another are variables of the session: they are set with
// SET and SELECT INTO only, which all versions have, and computed from variables
// that earlier statements have set. Values of the caller's are written as
// hexadecimal or decimal literals, so there is nothing to escape, and no sql_mode
// or character set that matters. The empty text is one of them: MariaDB can be set
// to take '' for NULL (EMPTY_STRING_IS_NULL).
//
// A statement's UTC_TIMESTAMP is the instant at which the statement began. So the
// time is read in a statement after the one that waited for the key's row.

// nowExpr is the server's clock in microseconds since 1970. It takes no detour
// through the session's time zone, whose hours may come twice.
const nowExpr = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))"

// durableExpr says that a commit that was acknowledged survives a crash. With a
// binary log, recovery rolls back what that has lost.
const durableExpr = "@@innodb_flush_log_at_trx_commit IN (1,3) AND (@@log_bin=0 OR @@sync_binlog=1)"

// Variables that hold what readRow has found.
const (
	varOwner    = "@redlock_owner"
	varFence    = "@redlock_fence"
	varCounter  = "@redlock_counter"
	varExpiry   = "@redlock_expiry"
	varConn     = "@redlock_conn"
	varReleased = "@redlock_released" // the asking owner has released
	varNow      = "@redlock_now"
)

// Variables that an operation decides by.
const (
	varGot  = "@redlock_got"  // the session has the server's lock
	varMine = "@redlock_mine" // the row's grant stands and is the asking owner's
	varNext = "@redlock_next" // the fence of a new grant
	varYes  = "@redlock_yes"  // the vote
)

// varLife holds a life (see there) in a session that has been asked for it.
const varLife = "@redlock_life"

// query builds a text. The zero value is an empty one.
type query struct{ strings.Builder }

// add appends a statement.
func (q *query) add(format string, args ...any) {
	if q.Len() > 0 {
		q.WriteByte(';')
	}
	fmt.Fprintf(q, format, args...)
}

// binary is a literal of any bytes.
func binary(s string) string { return "x'" + hex.EncodeToString([]byte(s)) + "'" }

// microseconds rounds up, because a grant must never be shorter than asked.
func microseconds(d time.Duration) int64 {
	us := int64(d / time.Microsecond)
	if d%time.Microsecond > 0 {
		us++
	}
	return max(1, us)
}

// begin opens the transaction.
func (n *Node) begin(q *query) {
	n.limitWaits(q)
	q.add("START TRANSACTION")
}

// beginRelease opens a transaction in which lockRow also locks a row that is not
// there, by the gap it would be in. So an acquire that comes later sees the tombstone:
// it has waited for a lock that ends once all is there to be read. A release does not
// make the row, for that lock would end too early; see readRow.
func (n *Node) beginRelease(q *query) {
	n.limitWaits(q)
	q.add("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
	q.add("START TRANSACTION")
}

// limitWaits has a session wait for a second at most for anything, as one of ours does
// anyway. One of a pool that has other users gets its own settings back in commit. A
// call that failed in between costs its session.
func (n *Node) limitWaits(q *query) {
	if !n.own {
		q.add("SET @redlock_rows=@@innodb_lock_wait_timeout,@redlock_tables=@@lock_wait_timeout")
		q.add("SET SESSION innodb_lock_wait_timeout=1,SESSION lock_wait_timeout=1")
	}
}

func (n *Node) commit(q *query) {
	q.add("COMMIT")
	if !n.own {
		q.add("SET SESSION innodb_lock_wait_timeout=@redlock_rows,SESSION lock_wait_timeout=@redlock_tables")
	}
}

// lockRow locks the key's row if there is one.
func (n *Node) lockRow(q *query, key string) {
	q.add("SELECT COUNT(*) INTO @redlock_lock FROM %s WHERE k=%s FOR UPDATE", n.tables.rows, binary(key))
}

// readRow takes the key's row, which the transaction has locked, and the time into
// variables. With an owner it looks for the tombstone too.
//
// It asks for the lock again, as only reads with locks are sure to see what is in
// force. InnoDB takes the lock of whoever made the row for ended an instant before
// the row is there for reads without one: two owners who wanted a new key could both
// find nothing. See beginRelease for tombstones.
func (n *Node) readRow(q *query, key, owner string) { n.read(q, key, owner, " FOR UPDATE") }

// seeRow reads without locks: it sees one state that was committed.
func (n *Node) seeRow(q *query, key, owner string) { n.read(q, key, owner, "") }

func (n *Node) read(q *query, key, owner, locking string) {
	released := "0"
	if owner != "" {
		released = fmt.Sprintf("(SELECT COUNT(*) FROM %s WHERE k=%s AND owner=%s AND expiry>%s)",
			n.tables.released, binary(key), binary(owner), nowExpr)
	}
	q.add("SELECT COALESCE(MAX(owner),x''),COALESCE(MAX(fence),0),COALESCE(MAX(counter),0),"+
		"COALESCE(MAX(expiry),0),COALESCE(MAX(conn),0),%s,%s INTO %s FROM %s WHERE k=%s%s",
		released, nowExpr,
		strings.Join([]string{varOwner, varFence, varCounter, varExpiry, varConn, varReleased, varNow}, ","),
		n.tables.rows, binary(key), locking)
}

// bury leaves a tombstone.
func (n *Node) bury(q *query, key, owner string) {
	until := fmt.Sprintf("%s+%d", nowExpr, n.tombstone)
	q.add("INSERT INTO %s (k,owner,expiry) VALUES (%s,%s,%s) ON DUPLICATE KEY UPDATE expiry=%s",
		n.tables.released, binary(key), binary(owner), until, until)
}

// nextFence is the fence of a new grant: as the contract says, from the counter,
// the hint and the horizon.
func nextFence(hint uint64) string {
	return fmt.Sprintf("GREATEST(%s+1,LEAST(%d,%s+%d))",
		varCounter, min(hint, redlock.MaxFence), varNow, redlock.HintHorizon.Microseconds())
}

// answerParts are the columns of an answer that differ from operation to
// operation; the zero value of each stands for 0 or for the row's.
type answerParts struct {
	yes, fence, counter, got, used string
}

// answer is the statement that every text ends with. See scanAnswer.
func (q *query) answer(p answerParts) {
	q.add("SELECT %s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,CONNECTION_ID(),@@hostname,@@port,UNIX_TIMESTAMP()",
		orDefault(p.yes, varYes), varOwner, orDefault(p.fence, varFence), orDefault(p.counter, varCounter),
		varExpiry, varNow, varConn, orDefault(p.got, "0"), orDefault(p.used, "0"), varLife, durableExpr)
}
