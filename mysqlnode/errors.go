package mysqlnode

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/quorumlock/redlock"
)

var (
	errTTL         = errors.New("the TTL must be positive")
	errToken       = fmt.Errorf("the token is larger than %d (redlock.MaxFence)", uint64(redlock.MaxFence))
	errKeyLength   = fmt.Errorf("the key is longer than %d bytes (redlock.MaxKeyLength)", redlock.MaxKeyLength)
	errOwnerLength = fmt.Errorf("the owner is longer than %d bytes", maxOwner)
	errFences      = errors.New("the fences of this key are used up")
	errClosed      = errors.New("the node is closed")
)

// Error numbers of the server.
const (
	errConCount       = 1040 // too many connections
	errDBAccess       = 1044
	errAccess         = 1045
	errNoDBSelected   = 1046
	errBadDB          = 1049
	errShutdown       = 1053
	errBadField       = 1054
	errParse          = 1064
	errNotOwner       = 1095
	errHostBlocked    = 1129
	errHostNotAllowed = 1130
	errTableAccess    = 1142
	errColumnAccess   = 1143
	errNoSuchTable    = 1146
	errNoSuchThread   = 1094
	errUserLimit      = 1203
	errLockWait       = 1205
	errDeadlock       = 1213
	errUserResource   = 1226
	errSpecificAccess = 1227
	errOptionPrevents = 1290
	errBinlogFormat   = 1665
	errReadOnly       = 1792
	errReadOnlyMode   = 1836
	errSecureMySQL    = 3159
	errSecureMariaDB  = 4151
	errChanged        = 1020
)

// dialError is that of making a connection, not of using one.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// rolledBack reports an error after which the server has nothing of the
// transaction, and may do better at a second try.
func rolledBack(err error) bool {
	return isNumber(err, errDeadlock, errLockWait, errChanged)
}

func isNumber(err error, numbers ...uint16) bool {
	var reply *mysql.MySQLError
	return errors.As(err, &reply) && slices.Contains(numbers, reply.Number)
}

// isReply tells an error that the server sent from one of the way to it.
func isReply(err error) bool {
	var reply *mysql.MySQLError
	return errors.As(err, &reply)
}

// explain names the node and the operation, and adds what most likely is wrong
// where a user would have to guess.
func (n *Node) explain(op string, err error) error {
	if why := n.explanation(err); why != "" {
		return fmt.Errorf("mysqlnode %s: %s: %s: %w", n.name, op, why, err)
	}
	return fmt.Errorf("mysqlnode %s: %s: %w", n.name, op, err)
}

func (n *Node) explanation(err error) string {
	var reply *mysql.MySQLError
	if errors.As(err, &reply) {
		return n.explainReply(reply)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ""
	case errors.Is(err, mysql.ErrNoTLS):
		return "the server does not speak TLS"
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, driver.ErrBadConn):
		if dial := new(dialError); errors.As(err, &dial) {
			return "no MySQL server's greeting; is another kind of server on this port?"
		}
		return "the server closed the connection"
	case errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul), errors.Is(err, mysql.ErrMalformPkt),
		errors.Is(err, mysql.ErrOldProtocol), strings.Contains(err.Error(), "unsupported protocol version"):
		return "no MySQL server's greeting; is another kind of server on this port?"
	case errors.Is(err, mysql.ErrUnknownPlugin):
		return "the server wants a kind of password check that the driver lacks"
	}
	return ""
}

// setBinlog says what to do about the isolation and the binary log.
const setBinlog = "set binlog_format to ROW or MIXED, or transaction_isolation to REPEATABLE-READ"

// explainReply goes by the number of a server's error. The server's own words
// follow it: they name the right that is missing, or the table.
func (n *Node) explainReply(reply *mysql.MySQLError) string {
	switch reply.Number {
	case errAccess:
		if n.plain { // MariaDB says no more to those who come without TLS where it is required
			return "the server does not take this user name or password, or none without TLS"
		}
		return "the server does not take this user name or password"
	case errDBAccess:
		return "the user has no right to this database"
	case errHostNotAllowed, errHostBlocked:
		return "the server does not let this machine connect"
	case errNoDBSelected:
		return "no database is chosen: name one, or set Options.Table to DATABASE.TABLE"
	case errBadDB:
		return "there is no such database: create it first"
	case errNoSuchTable:
		return "the table is missing: run Init or `redlock nodes --init`"
	case errBadField:
		return "the table is not one of ours: set another Options.Table"
	case errTableAccess, errColumnAccess:
		if strings.HasPrefix(reply.Message, "CREATE") {
			return "the user must have the right CREATE to run Init; locking takes SELECT, INSERT, UPDATE and DELETE"
		}
		return fmt.Sprintf("the user lacks a right: it needs SELECT, INSERT, UPDATE and DELETE on %s and %s",
			n.tables.rows, n.tables.released)
	case errSpecificAccess:
		return "the user lacks a right"
	case errNotOwner:
		return "the lock is held by a session of another database user, which this one may not end"
	case errParse:
		if !n.own {
			return "the database takes one statement at a time: open it with multiStatements=true"
		}
		return "the server does not know a statement (is it MySQL 5.7, MariaDB 10.2 or later?)"
	case errOptionPrevents, errReadOnly, errReadOnlyMode:
		return "the server is read-only: a replica cannot be a node"
	case errBinlogFormat:
		return "the server has transaction_isolation READ-COMMITTED or lower and binlog_format STATEMENT, which do not go together: " + setBinlog
	case errLockWait:
		return "another transaction holds a row of the table"
	case errConCount, errUserLimit, errUserResource:
		return "the server has no connection left for this user"
	case errShutdown:
		return "the server is shutting down"
	case errSecureMySQL, errSecureMariaDB:
		return "the server takes TLS connections only"
	}
	return ""
}
