package zknode

import (
	"errors"
	"time"

	"github.com/go-zookeeper/zk"
)

// sweepPause is how long a node waits before it thinks of idle keys again.
const sweepPause = time.Hour

// sweepsPerRetention is how often the ensemble is searched for idle keys.
const sweepsPerRetention = 7

// tidy has idle keys removed, now and then and in passing. Among all nodes on
// the ensemble one does it.
func (n *Node) tidy(s session) {
	n.mu.Lock()
	now := n.clock.Now()
	due := n.swept > 0 && now-n.swept >= sweepPause
	if due {
		n.swept = now
	}
	n.mu.Unlock()
	if due {
		n.spawn(func() { _ = n.sweep(s) }) // what is left is for the next time
	}
}

// sweep removes the keys that nobody has written to for as long as counters are
// kept. A key that comes into use meanwhile has another version, or a lease, and
// stays.
func (n *Node) sweep(s session) error {
	clock, mine, err := n.claim(s)
	if err != nil || !mine {
		return err
	}
	names, _, err := s.conn.Children(n.locksPath())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := n.life.Err(); err != nil {
			return err
		}
		if name[0] == '.' {
			continue // no key
		}
		if err := n.sweepKey(s, n.locksPath()+"/"+name, clock); err != nil && !stale(err) && !errors.Is(err, errNotOurs) {
			return err
		}
	}
	return nil
}

func (n *Node) sweepKey(s session, path string, clock time.Duration) error {
	st, err := n.readAt(s, path)
	if err != nil || !st.exists || st.leased || clock-time.Duration(st.mtime)*time.Millisecond <= n.retention {
		return err
	}
	var ops []any
	if st.ID != "" {
		ops = append(ops, &zk.DeleteRequest{Path: path + "/" + st.ID, Version: -1})
	}
	_, err = s.conn.Multi(append(ops, &zk.DeleteRequest{Path: path, Version: st.version})...)
	return err
}

// claim reports whether a sweep is due and ours to do, and gives the ensemble's
// clock.
func (n *Node) claim(s session) (clock time.Duration, mine bool, err error) {
	path := n.root + "/swept"
	clock, known := n.horizon.at(n.clock.Now())
	exists, stat, err := s.conn.Exists(path)
	if err != nil || !known {
		return 0, false, err
	}
	if !exists {
		_, err := s.conn.Create(path, nil, 0, n.acl)
		return clock, err == nil, ignore(err, zk.ErrNodeExists)
	}
	if clock-time.Duration(stat.Mtime)*time.Millisecond < n.retention/sweepsPerRetention {
		return 0, false, nil
	}
	stat, err = s.conn.Set(path, nil, stat.Version)
	if err != nil {
		return 0, false, ignore(err, zk.ErrBadVersion)
	}
	return time.Duration(stat.Mtime) * time.Millisecond, true, nil
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
