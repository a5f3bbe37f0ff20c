package quorumbench

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumlock/redlock"
)

const (
	// cleaners look after keys at the same time.
	cleaners = 64

	// cleanTimeout is long: a node that was too slow for a lock may yet be fast
	// enough to be cleaned up.
	cleanTimeout = 10 * time.Second

	cleanTries = 3
)

// cleanUp frees, over all keys and nodes, the locks that are left. It tells how many
// it could not free, and how many places it could not look at. It works even if the
// run was interrupted.
//
// Closing the Locker has freed all but those of nodes that were too slow. Whatever
// is locked under the run's keys is its own: their names are random.
func (b *Bench) cleanUp(ctx context.Context) (locked, unknown int) {
	ctx, cancel := b.cfg.Clock.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	var left, blind atomic.Int64
	var cleaning errgroup.Group
	cleaning.SetLimit(cleaners)
	for i := range b.cfg.Keys {
		for _, n := range b.nodes {
			cleaning.Go(func() error {
				held, err := free(ctx, n, b.cfg.key(i))
				switch {
				case err != nil:
					blind.Add(1)
				case held:
					left.Add(1)
				}
				return nil
			})
		}
	}
	_ = cleaning.Wait() // it counts its errors
	return int(left.Load()), int(blind.Load())
}

// free frees a key on a node, and reports whether it is held all the same.
func free(ctx context.Context, n redlock.Node, key string) (held bool, err error) {
	for range cleanTries {
		state, err := n.Inspect(ctx, key)
		if err != nil || !state.Held {
			return false, err
		}
		if err := n.Release(ctx, redlock.ReleaseRequest{Key: key, Owner: state.Owner}); err != nil {
			return false, err
		}
	}
	return true, nil
}
