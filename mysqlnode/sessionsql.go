package mysqlnode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
)

// The texts of session locks. The server's lock is what decides; the row keeps the
// counter and tells others who has it.

// lockName is the name of a key's lock. MySQL takes 64 characters and does not
// tell upper from lower case.
func (n *Node) lockName(key string) string {
	const digits = 48
	sum := sha256.Sum256([]byte(n.locks + "\x00" + key))
	return "'redlock:" + hex.EncodeToString(sum[:])[:digits] + "'"
}

// idleSeconds is the wait_timeout for a TTL: whole seconds, and one more, lest the
// server's timer be early.
func idleSeconds(d time.Duration) int64 {
	const most = 365 * 24 * 3600 // the server's limit
	return min(int64(max(0, d-1)/time.Second)+2, most)
}

// noRow is readRow where there is no table.
func (n *Node) noRow(q *query) {
	q.add("SET %s=x'',%s=0,%s=0,%s=0,%s=0,%s=0,%s=%s",
		varOwner, varFence, varCounter, varExpiry, varConn, varReleased, varNow, nowExpr)
}

// testLock takes into a variable whether this session has the lock.
func (n *Node) testLock(q *query, key string) {
	q.add("SET %s=COALESCE(IS_USED_LOCK(%s)=CONNECTION_ID(),0)", varGot, n.lockName(key))
}

func (n *Node) sessionAcquireText(req redlock.AcquireRequest) string {
	var q query
	lock := n.lockName(req.Key)
	q.add("SET %s=COALESCE(GET_LOCK(%s,0),0)", varGot, lock)
	q.add("SET SESSION wait_timeout=CAST(IF(%s=1,%d,@@wait_timeout) AS SIGNED)", varGot, idleSeconds(req.TTL))
	if n.noTable {
		n.noRow(&q)
		q.add("SET %s=%s=1,%s=%s", varYes, varGot, varNext, varNow)
	} else {
		n.begin(&q)
		q.add("INSERT INTO %s (k,owner) SELECT %s,x'' FROM DUAL WHERE %s=1 ON DUPLICATE KEY UPDATE k=%s.k",
			n.tables.rows, binary(req.Key), varGot, n.tables.rows)
		n.seeRow(&q, req.Key, req.Owner) // the server's lock keeps others out, until they have committed
		q.add("SET %s=%s", varNext, nextFence(req.Hint))
		q.add("SET %s=%s=1 AND %s=0 AND %s<=%d", varYes, varGot, varReleased, varNext, uint64(redlock.MaxFence))
		q.add("UPDATE %s SET owner=%s,fence=%s,counter=%s,expiry=%s+%d,conn=CONNECTION_ID() WHERE k=%s AND %s",
			n.tables.rows, binary(req.Owner), varNext, varNext, varNow, microseconds(req.TTL), binary(req.Key), varYes)
		n.commit(&q)
		q.add("DO IF(%s,0,RELEASE_LOCK(%s))", varYes, lock)
	}
	q.answer(answerParts{
		fence:   varNext,
		counter: fmt.Sprintf("IF(%s,%s,%s)", varYes, varNext, varCounter),
		got:     varGot,
		used:    "IS_USED_LOCK(" + lock + ")",
	})
	return q.String()
}

// grantText is a text for the connection of a grant. With a table, the assignment
// is made to the row.
func (n *Node) grantText(g *grant, first, assignment, yes, counter string) string {
	var q query
	n.testLock(&q, g.id.key)
	if first != "" {
		q.add("%s", first)
	}
	if n.noTable {
		n.noRow(&q)
		q.add("SET %s=%s AND %s", varYes, varGot, yes)
	} else {
		n.begin(&q)
		n.lockRow(&q, g.id.key)
		n.readRow(&q, g.id.key, "")
		q.add("SET %s=%s AND %s=%s AND %s=%d", varYes, varGot, varOwner, binary(g.id.owner), varFence, g.fence)
		q.add("UPDATE %s SET %s WHERE k=%s AND %s", n.tables.rows, assignment, binary(g.id.key), varYes)
		n.commit(&q)
	}
	q.answer(answerParts{counter: counter, got: varGot, used: "IS_USED_LOCK(" + n.lockName(g.id.key) + ")"})
	return q.String()
}

func (n *Node) confirmText(g *grant, token uint64) string {
	raised := fmt.Sprintf("GREATEST(%s,%d)", varCounter, token)
	return n.grantText(g, "", "counter="+raised, fmt.Sprintf("%d<%s", token, varNow),
		fmt.Sprintf("IF(%s,%s,%s)", varYes, raised, varCounter))
}

// extendText sets wait_timeout for the longer of the new TTL and what is left of
// the old one: it runs from the end of this statement on.
func (n *Node) extendText(g *grant, ttl time.Duration) string {
	idle := idleSeconds(max(ttl, g.until-n.clock.Now()))
	return n.grantText(g, fmt.Sprintf("SET SESSION wait_timeout=%d", idle),
		fmt.Sprintf("expiry=GREATEST(%s,%s+%d)", varExpiry, varNow, microseconds(ttl)), "1", "")
}

// freeText gives a lock up on the connection that has it.
func (n *Node) freeText(req redlock.ReleaseRequest) string {
	var q query
	n.testLock(&q, req.Key)
	if n.noTable {
		n.noRow(&q)
	} else {
		n.begin(&q)
		n.lockRow(&q, req.Key)
		n.readRow(&q, req.Key, "")
		q.add("UPDATE %s SET owner=x'',expiry=LEAST(%s,%s) WHERE k=%s AND owner=%s AND conn=CONNECTION_ID()",
			n.tables.rows, varExpiry, varNow, binary(req.Key), binary(req.Owner))
		n.commit(&q)
	}
	q.add("DO RELEASE_LOCK(%s)", n.lockName(req.Key))
	q.answer(answerParts{yes: "1", got: varGot})
	return q.String()
}

// buryText leaves a tombstone and tells who has the lock.
func (n *Node) buryText(key, owner string) string {
	var q query
	if n.noTable {
		n.noRow(&q)
	} else {
		n.beginRelease(&q)
		n.lockRow(&q, key)
		n.readRow(&q, key, "")
		n.bury(&q, key, owner)
		n.commit(&q)
	}
	q.answer(answerParts{yes: "1", used: "IS_USED_LOCK(" + n.lockName(key) + ")"})
	return q.String()
}

func (n *Node) sessionInspect(key string) string {
	var q query
	if n.noTable {
		n.noRow(&q)
	} else {
		q.add("START TRANSACTION READ ONLY")
		n.seeRow(&q, key, "")
		q.add("COMMIT")
	}
	q.add("SET @redlock_used=COALESCE(IS_USED_LOCK(%s),0)", n.lockName(key))
	q.answer(answerParts{yes: "@redlock_used<>0", used: "@redlock_used"})
	return q.String()
}

// kill ends a connection of the same user's, which takes no special right. One
// that has ended is fine.
func (n *Node) kill(ctx context.Context, connection int64) error {
	_, err := n.db.ExecContext(ctx, fmt.Sprintf("KILL CONNECTION %d", connection))
	if isNumber(err, errNoSuchThread) {
		return nil
	}
	return err
}
