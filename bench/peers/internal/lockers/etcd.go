//go:build etcd

package lockers

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// etcdLocker has a client, and a session for each goroutine at a time: locks of one
// session do not exclude each other.
type etcdLocker struct {
	client   *clientv3.Client
	sessions chan *concurrency.Session
}

func openEtcd(at Where) (Locker, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{at.Etcd}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	return &etcdLocker{c, make(chan *concurrency.Session, 1024)}, nil
}

func (l *etcdLocker) Lock(ctx context.Context, key string) (Held, error) {
	s, err := l.session()
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(s, "/"+key)
	if err := m.Lock(ctx); err != nil {
		l.sessions <- s
		return nil, err
	}
	return &etcdHeld{l, s, m}, nil
}

func (l *etcdLocker) session() (*concurrency.Session, error) {
	select {
	case s := <-l.sessions:
		return s, nil
	default:
		return concurrency.NewSession(l.client, concurrency.WithTTL(int(TTL/time.Second)))
	}
}

func (l *etcdLocker) Close() { _ = l.client.Close() }

type etcdHeld struct {
	locker  *etcdLocker
	session *concurrency.Session
	mutex   *concurrency.Mutex
}

func (h *etcdHeld) Unlock(ctx context.Context) error {
	err := h.mutex.Unlock(ctx)
	h.locker.sessions <- h.session
	return err
}

func (h *etcdHeld) Token() uint64 { return uint64(h.mutex.Header().Revision) }
