package mysqlnode

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
)

// answer is what a text ends with; see query.answer.
type answer struct {
	yes     bool
	held    bool // somebody has the key
	owner   string
	fence   uint64
	counter uint64
	left    time.Duration // of what the row tells
	clock   time.Time
	got     bool  // session locks: this session has the server's lock
	used    int64 // session locks: the connection that has it; 0 if none has
	writer  int64 // session locks: the connection that wrote the row
	conn    int64 // the connection that was asked
	durable bool

	// What tells servers and their lives from one another.
	life    string // as marked in the session; empty if it was not
	place   string // host:port as the server sees itself
	asked   int64  // when, in seconds since 1970
	started int64  // in seconds since 1970; 0 if it was not asked, or is not certain
	identified
}

func scanAnswer(rows *sql.Rows, mode Mode) (answer, error) {
	var a answer
	var expiry, now, port int64
	var used sql.NullInt64
	var life sql.NullString
	var host string
	if !rows.Next() {
		return a, orDefault(rows.Err(), errors.New("the server's answer is empty"))
	}
	err := rows.Scan(&a.yes, &a.owner, &a.fence, &a.counter, &expiry, &now, &a.writer, &a.got, &used, &life,
		&a.durable, &a.conn, &host, &port, &a.asked)
	if err != nil {
		return a, fmt.Errorf("unexpected answer: %w", err)
	}
	a.clock = time.UnixMicro(now).UTC()
	a.left = time.Duration(max(0, expiry-now)) * time.Microsecond
	a.used, a.life = used.Int64, life.String
	a.place = fmt.Sprintf("%s:%d", host, port)
	a.held = a.left > 0
	if mode == Session {
		a.held = a.used != 0
	}
	return a, rows.Err()
}

// known reports whether the row speaks of who has the key. With session locks it
// may be of an earlier holder, while the next one has yet to write it.
func (a answer) known() bool { return a.owner != "" && (a.used == 0 || a.used == a.writer) }

// holder is the owner that has the key, or whatever is known of it.
func (a answer) holder() string {
	switch {
	case !a.held:
		return ""
	case !a.known():
		return connectionName(a.used)
	}
	return a.owner
}

// connectionName stands for an owner who has the lock on that connection.
func connectionName(number int64) string { return fmt.Sprintf("connection %d", number) }

func (a answer) vote() redlock.Vote {
	vote := redlock.Vote{
		Granted:     a.yes,
		Counter:     a.counter,
		Clock:       a.clock,
		Incarnation: a.incarnation,
		Age:         a.age,
	}
	switch {
	case a.yes:
		vote.Fence = a.fence
	case a.held:
		vote.Holder = a.holder()
		if a.known() {
			vote.Remaining = a.left
		}
	}
	return vote
}
