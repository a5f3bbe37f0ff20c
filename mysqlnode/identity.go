package mysqlnode

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A life is one run of a server's process: "host:port/id/start". MySQL shows when
// it started only as an uptime, in whole seconds, but since it computes that as a
// difference of whole seconds, the difference the other way round gives the very
// second of the start again, whenever it is asked and however its clock was set.
//
// A session belongs to one life, so it is asked once and marked by a variable,
// which every later answer brings along. Sessions that a proxy may move to
// another server are asked with every call, and so are those of session locks,
// most of which are new.

// uptimeText asks for what scanStart reads.
const uptimeText = "SHOW GLOBAL STATUS LIKE 'Uptime';SELECT UNIX_TIMESTAMP()"

// identityText asks for all that makes a life. MySQL has a server_uuid, MariaDB a
// server_uid.
const identityText = "SELECT @@hostname,@@port,UNIX_TIMESTAMP();" + uptimeText +
	";SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid','server_uid')"

// uptimeSlack is by how much an uptime may be overstated: both of its ends are cut
// to whole seconds.
const uptimeSlack = time.Second

// identified is the part of a vote that speaks of the server.
type identified struct {
	incarnation string
	age         time.Duration
	moved       bool // another server answered before
}

// identity remembers the lives that answered.
type identity struct {
	mu    sync.Mutex
	lives map[string]string // by place and start

	life  string        // the latest
	lost  time.Duration // the latest local instant at which grants may have been lost
	moved bool          // at that instant another server took over
}

// lifeKey is what can be asked of a server in passing.
func lifeKey(place string, started int64) string { return fmt.Sprintf("%s/%d", place, started) }

// recall gives the life of a server that answered, or nothing if it has to be
// asked for its identity.
func (i *identity) recall(place string, started int64) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lives[lifeKey(place, started)]
}

func (i *identity) remember(place string, started int64, life string) {
	const most = 16
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lives == nil || len(i.lives) >= most {
		i.lives = map[string]string{}
	}
	i.lives[lifeKey(place, started)] = life
}

// learn takes the life that answered a call, which was sent and received at these
// local instants while the server's clock showed clock.
func (i *identity) learn(life string, clock time.Time, sent, received time.Duration) identified {
	i.mu.Lock()
	defer i.mu.Unlock()
	server, started := splitLife(life)
	before, since := splitLife(i.life)
	switch {
	case life == i.life:
	case server == before && started < since:
		// A late word of the one that ended. What it granted is gone.
		return identified{incarnation: life, age: 1}
	case i.life != "" && server != before:
		// Nobody knows what the other one had granted by then.
		i.life, i.lost, i.moved = life, received, true
	default:
		// The server's clock may be set later: this first estimate stands.
		i.life, i.lost = life, received-max(0, clock.Sub(time.Unix(started, 0))-uptimeSlack)
	}
	return i.at(sent)
}

// latest tells of the server that answered last.
func (i *identity) latest(instant time.Duration) identified {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.life == "" {
		return identified{}
	}
	return i.at(instant)
}

// at tells of the server at a local instant. An age of zero would mean that it
// never loses a grant.
func (i *identity) at(instant time.Duration) identified {
	return identified{incarnation: i.life, age: max(1, instant-i.lost), moved: i.moved}
}

func splitLife(life string) (server string, started int64) {
	slash := strings.LastIndexByte(life, '/')
	started, _ = strconv.ParseInt(life[slash+1:], 10, 64)
	return life[:max(0, slash)], started
}

// identify asks a session for its server's life, and marks it if told to.
func (n *Node) identify(ctx context.Context, conn *sql.Conn, mark bool) (string, error) {
	const tries = 5 // a try fails if a second ends within it
	for range tries {
		life, err := n.askLife(ctx, conn)
		if err != nil {
			return "", fmt.Errorf("cannot learn how old the server is: %w", err)
		}
		if life == "" {
			continue
		}
		if mark {
			if _, err := conn.ExecContext(ctx, "SET "+varLife+"="+binary(life)); err != nil {
				return "", err
			}
		}
		return life, nil
	}
	return "", errors.New("the server is too slow to tell how old it is")
}

func (n *Node) askLife(ctx context.Context, conn *sql.Conn) (string, error) {
	rows, err := conn.QueryContext(ctx, identityText)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var host, id, name string
	var port, asked int64
	if rows.Next() {
		if err := rows.Scan(&host, &port, &asked); err != nil {
			return "", err
		}
	}
	started, err := scanStart(rows, asked)
	if err != nil {
		return "", err
	}
	rows.NextResultSet()
	for rows.Next() {
		if err := rows.Scan(&name, &id); err != nil {
			return "", err
		}
	}
	if err := rows.Err(); err != nil || started == 0 {
		return "", err
	}
	place := fmt.Sprintf("%s:%d", host, port)
	life := fmt.Sprintf("%s/%s/%d", place, strings.ReplaceAll(id, "/", "_"), started)
	n.identity.remember(place, started, life)
	return life, nil
}

// scanStart reads the results of uptimeText. It gives 0 if the second was not the
// same before and after the uptime was told.
func scanStart(rows *sql.Rows, asked int64) (int64, error) {
	var name string
	var uptime, again int64
	if rows.NextResultSet() && rows.Next() {
		if err := rows.Scan(&name, &uptime); err != nil {
			return 0, err
		}
	}
	if rows.NextResultSet() && rows.Next() {
		if err := rows.Scan(&again); err != nil {
			return 0, err
		}
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if name == "" {
		return 0, errors.New("the server does not tell its uptime")
	}
	if asked != again {
		return 0, nil
	}
	return asked - uptime, nil
}
