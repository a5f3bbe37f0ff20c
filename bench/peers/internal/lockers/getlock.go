package lockers

import (
	"context"
	"database/sql"
	"errors"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// getLock uses MySQL's GET_LOCK, which takes a connection for each lock held or
// waited for.
type getLock struct{ db *sql.DB }

func openGetLock(at Where) (Locker, error) {
	db, err := sql.Open("mysql", at.MySQL+"?interpolateParams=true")
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(1024)
	return &getLock{db}, nil
}

func (l *getLock) Lock(ctx context.Context, key string) (Held, error) {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		var got sql.NullInt64
		// The wait is short because a driver that is cancelled drops its connection.
		if err = conn.QueryRowContext(context.WithoutCancel(ctx), "SELECT GET_LOCK(?, 1)", key).Scan(&got); err != nil {
			break
		}
		if got.Int64 == 1 {
			return &getLockHeld{conn, key}, nil
		}
	}
	return nil, errors.Join(ctx.Err(), err, conn.Close())
}

func (l *getLock) Close() { _ = l.db.Close() }

type getLockHeld struct {
	conn *sql.Conn
	key  string
}

func (h *getLockHeld) Unlock(ctx context.Context) error {
	var ok sql.NullInt64
	err := h.conn.QueryRowContext(ctx, "SELECT RELEASE_LOCK(?)", h.key).Scan(&ok)
	if err == nil && ok.Int64 != 1 {
		err = errors.New("GET_LOCK: it was not held")
	}
	return errors.Join(err, h.conn.Close())
}

func (*getLockHeld) Token() uint64 { return 0 }
