package lockers

import (
	"context"
	"time"

	"github.com/go-zookeeper/zk"
)

// zooKeeper uses go-zookeeper's lock recipe over one session.
type zooKeeper struct{ conn *zk.Conn }

type silent struct{}

func (silent) Printf(string, ...any) {}

func openZooKeeper(at Where) (Locker, error) {
	conn, _, err := zk.Connect([]string{at.ZooKeeper}, TTL, zk.WithLogger(silent{}))
	if err != nil {
		return nil, err
	}
	return &zooKeeper{conn}, nil
}

// Lock waits in its own goroutine, for the recipe knows no context. What comes
// after ctx has ended is given back.
func (l *zooKeeper) Lock(ctx context.Context, key string) (Held, error) {
	lock := zk.NewLock(l.conn, "/"+key, zk.WorldACL(zk.PermAll))
	done := make(chan error, 1)
	go func() { done <- lock.Lock() }()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return zooKeeperHeld{lock}, nil
	case <-ctx.Done():
		go func() {
			if <-done == nil {
				_ = lock.Unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

func (l *zooKeeper) Close() {
	time.Sleep(20 * time.Millisecond) // lets those that have just ended clean up
	l.conn.Close()
}

type zooKeeperHeld struct{ lock *zk.Lock }

func (h zooKeeperHeld) Unlock(context.Context) error { return h.lock.Unlock() }
func (zooKeeperHeld) Token() uint64                  { return 0 }
