package lockers

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/redisnode"
)

// ours is a Locker of redlock's. Its leases are Held as they are.
type ours struct {
	*redlock.Locker
	nodes []redlock.Node
}

func openRedlock(at Where) (Locker, error) { return OpenRedlock(at, TTL) }

// OpenRedlock opens redlock with a TTL.
func OpenRedlock(at Where, ttl time.Duration) (Locker, error) {
	var nodes []redlock.Node
	for _, addr := range at.Redis {
		nodes = append(nodes, redisnode.New(nil, redisnode.Options{Addr: addr}))
	}
	l, err := redlock.New(nodes, redlock.Options{TTL: ttl})
	if err != nil {
		return nil, err
	}
	return &ours{l, nodes}, nil
}

func (o *ours) Lock(ctx context.Context, key string) (Held, error) {
	lease, err := o.Locker.Lock(ctx, key)
	if err != nil {
		return nil, err // an interface that holds a nil lease is not nil
	}
	return lease, nil
}

func (o *ours) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = o.Locker.Close(ctx)
	for _, n := range o.nodes {
		if c, ok := n.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// isRedlockLock knows the names that redisnode gives: the key's lock is
// "redlock:{key}", and its counter and tombstones go on behind that. A value that
// begins with '~' says that nobody holds the key: it was set aside for a waiter, for
// a moment.
func isRedlockLock(name, value string) bool {
	return strings.HasPrefix(name, "redlock:{") && strings.HasSuffix(name, "}") && !strings.HasPrefix(value, "~")
}

// Valid says whether a lock of redlock's is still held.
func Valid(h Held) error {
	lease, ok := h.(*redlock.Lease)
	if !ok {
		return errors.New("not a lease of redlock's")
	}
	return lease.Err()
}
