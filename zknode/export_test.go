package zknode

import (
	"context"
	"time"
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
