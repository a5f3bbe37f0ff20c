package zknode

import (
	"context"
	"time"

	"github.com/quorumlock/redlock"
)

// Sweep removes keys that are idle for longer than a test can wait.
func (n *Node) Sweep(ctx context.Context, retention time.Duration) error {
	s, err := n.prepare(ctx, false)
	if err != nil {
		return err
	}
	n.retention = retention
	return n.sweep(s)
}

// Escape is the name of a key's znode.
func Escape(key string) string { return escape(key) }

// Lanes counts what the node remembers of owners.
func (n *Node) Lanes() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.lanes)
}

// PlaceAfter has a place kept by an acquire that is under way when something
// happens.
func (n *Node) PlaceAfter(ctx context.Context, happens func(), key string, p redlock.Place) (bool, error) {
	s, err := n.prepare(ctx, false)
	if err != nil {
		return false, err
	}
	st, err := n.look(s, key)
	if err != nil {
		return false, err
	}
	w := n.waits[p.Waiter]
	happens()
	kept, _, err := n.place(s, st, w, p)
	return kept, err
}

// Settle waits until the node does nothing by itself.
func (n *Node) Settle() { n.calls.Wait() }

// MostPlaces is how long the queue for a key can be.
const MostPlaces = mostPlaces

// WatchRequest is the request that watches for as many paths as fit in it.
func WatchRequest(paths []string) (request []byte, rest []string) { return watchRequest(paths) }
