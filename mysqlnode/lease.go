package mysqlnode

import (
	"fmt"

	"github.com/quorumlock/redlock"
)

// The texts of lease rows. Each locks the key's row before it looks at anything,
// so that all operations on a key come one after the other.

// standing says that the row's grant is in force and the given owner's.
func standing(owner string) string {
	return fmt.Sprintf("(%s>%s AND %s=%s)", varExpiry, varNow, varOwner, binary(owner))
}

func (n *Node) leaseAcquire(req redlock.AcquireRequest) string {
	var q query
	n.begin(&q)
	q.add("INSERT INTO %s (k,owner) VALUES (%s,x'') ON DUPLICATE KEY UPDATE k=k", n.tables.rows, binary(req.Key))
	n.readRow(&q, req.Key, req.Owner)
	q.add("SET %s=%s,%s=%s", varMine, standing(req.Owner), varNext, nextFence(req.Hint))
	q.add("SET %s=%s OR (%s<=%s AND %s=0 AND %s<=%d)",
		varYes, varMine, varExpiry, varNow, varReleased, varNext, uint64(redlock.MaxFence))
	q.add("UPDATE %s SET owner=%s,fence=IF(%s,%s,%s),counter=IF(%s,%s,%s),expiry=GREATEST(IF(%s,%s,0),%s+%d) WHERE k=%s AND %s",
		n.tables.rows, binary(req.Owner),
		varMine, varFence, varNext,
		varMine, varCounter, varNext,
		varMine, varExpiry, varNow, microseconds(req.TTL),
		binary(req.Key), varYes)
	n.commit(&q)
	q.answer(answerParts{
		fence:   fmt.Sprintf("IF(%s,%s,%s)", varMine, varFence, varNext),
		counter: fmt.Sprintf("IF(%s AND NOT %s,%s,%s)", varYes, varMine, varNext, varCounter),
	})
	return q.String()
}

// leaseIf is a confirm or an extend: the assignment is made if that very grant
// stands.
func (n *Node) leaseIf(key, owner string, fence uint64, assignment string, parts answerParts) string {
	var q query
	n.begin(&q)
	n.lockRow(&q, key)
	n.readRow(&q, key, "")
	q.add("SET %s=%s AND %s=%d", varYes, standing(owner), varFence, fence)
	q.add("UPDATE %s SET %s WHERE k=%s AND %s", n.tables.rows, assignment, binary(key), varYes)
	n.commit(&q)
	q.answer(parts)
	return q.String()
}

func (n *Node) leaseConfirm(req redlock.ConfirmRequest) string {
	raised := fmt.Sprintf("GREATEST(%s,%d)", varCounter, req.Token)
	return n.leaseIf(req.Key, req.Owner, req.Fence, "counter="+raised,
		answerParts{counter: fmt.Sprintf("IF(%s,%s,%s)", varYes, raised, varCounter)})
}

func (n *Node) leaseExtend(req redlock.ExtendRequest) string {
	return n.leaseIf(req.Key, req.Owner, req.Fence,
		fmt.Sprintf("expiry=GREATEST(%s,%s+%d)", varExpiry, varNow, microseconds(req.TTL)), answerParts{})
}

func (n *Node) leaseRelease(req redlock.ReleaseRequest) string {
	var q query
	n.beginRelease(&q)
	n.lockRow(&q, req.Key)
	n.readRow(&q, req.Key, "")
	n.bury(&q, req.Key, req.Owner)
	q.add("UPDATE %s SET owner=x'',expiry=LEAST(%s,%s) WHERE k=%s AND owner=%s",
		n.tables.rows, varExpiry, varNow, binary(req.Key), binary(req.Owner))
	n.commit(&q)
	q.answer(answerParts{yes: "1"})
	return q.String()
}

func (n *Node) leaseInspect(key string) string {
	var q query
	q.add("START TRANSACTION READ ONLY")
	n.seeRow(&q, key, "")
	q.add("COMMIT")
	q.answer(answerParts{yes: varExpiry + ">" + varNow})
	return q.String()
}
