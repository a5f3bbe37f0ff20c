package zknode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"
)

// session is one session with the ensemble and what was learned in it.
type session struct {
	conn *zk.Conn
	id   int64
	name string // the id as records have it

	incarnation string
	durable     bool
	lost        time.Duration // the latest instant of ours at which the ensemble may have lost data
}

// age tells how long ago data may have been lost. An age of zero would mean
// never.
func (s session) age(now time.Duration) time.Duration {
	if s.durable || s.incarnation == "" {
		return 0
	}
	return max(1, now-s.lost)
}

// identity is what the znode over all keys holds. It is written once and tells
// the ensemble's data from any other.
type identity struct {
	ID string `json:"id"`
}

func (n *Node) locksPath() string { return n.root + "/locks" }

func (n *Node) keyPath(key string) string { return n.locksPath() + "/" + escape(key) }

func leasePath(keyPath string) string { return keyPath + "/lease" }

// lifePath is a znode that is there as long as what is over all keys, for it is
// below that. No key's name begins with a dot.
func (n *Node) lifePath(incarnation string) string { return n.locksPath() + "/." + incarnation }

// prepare gives the session to work in. The first call in it learns what there
// is to know, and creates what has to be there.
func (n *Node) prepare(ctx context.Context, create bool) (session, error) {
	conn, err := n.source.session(ctx)
	if err != nil {
		return session{}, err
	}
	if s, ok := n.prepared(conn); ok {
		return s, nil
	}
	n.preparing.Lock()
	defer n.preparing.Unlock()
	if s, ok := n.prepared(conn); ok {
		return s, nil
	}
	if err := n.authenticate(conn); err != nil {
		return session{}, err
	}
	return n.survey(conn, create)
}

func (n *Node) prepared(conn *zk.Conn) (session, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready, n.ready.conn == conn && n.ready.id == conn.SessionID()
}

// forgetSession has the next call prepare the session anew.
func (n *Node) forgetSession() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = session{}
}

// authenticate shows the credentials, once: the driver repeats them on every
// later connection.
func (n *Node) authenticate(conn *zk.Conn) error {
	if n.authed {
		return nil
	}
	for _, a := range n.auth {
		if err := conn.AddAuth(a.Scheme, []byte(a.Credentials)); err != nil {
			return fmt.Errorf("scheme %q: %w", a.Scheme, err)
		}
	}
	n.authed = true
	return nil
}

// survey learns the ensemble's identity and clock.
func (n *Node) survey(conn *zk.Conn, create bool) (session, error) {
	id := conn.SessionID()
	s := session{conn: conn, id: id, name: fmt.Sprintf("%#x", uint64(id)), durable: n.durable}
	for range mostTries {
		data, stat, err := conn.Get(n.locksPath())
		if errors.Is(err, zk.ErrNoNode) {
			if !create {
				return s, nil // there is nothing to be seen
			}
			if err := n.found(conn, s); err != nil {
				return session{}, err
			}
			continue
		}
		if err != nil {
			return session{}, err
		}
		var is identity
		if err := json.Unmarshal(data, &is); err != nil || is.ID == "" {
			return session{}, fmt.Errorf("%s: %w", n.locksPath(), errNotOurs)
		}
		// Writing what is there already shows the ensemble's clock. Whoever loses
		// a race for it has the winner's reading.
		sent := n.clock.Now()
		results, err := conn.Multi(
			&zk.SetDataRequest{Path: n.locksPath(), Data: data, Version: stat.Version},
			&zk.CheckVersionRequest{Path: n.lifePath(is.ID), Version: -1})
		received := n.clock.Now()
		switch {
		case firstFailed(results) == 1: // somebody removed it, and that alone
			if err := n.ensure(conn, n.lifePath(is.ID), nil); err != nil && !stale(err) {
				return session{}, err
			}
			continue
		case stale(err):
			continue
		case errors.Is(err, zk.ErrNoAuth) && !create:
			return s, nil // it may look, and that is all
		case err != nil:
			return session{}, err
		}
		written := results[0].Stat
		n.horizon.wrote(written.Mtime, sent, received)
		s.incarnation = is.ID
		// Both times are whole milliseconds.
		s.lost = received - time.Duration(written.Mtime-written.Ctime-1)*time.Millisecond
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ready = s
		if n.surveyed != s.incarnation {
			n.surveyed = s.incarnation
			clear(n.cache) // it is of other data
		}
		if n.swept == 0 {
			n.swept = max(1, received)
		}
		return s, nil
	}
	return session{}, errBusy
}

// found creates the root and what is over all keys.
func (n *Node) found(conn *zk.Conn, s session) error {
	var path strings.Builder
	for name := range strings.SplitSeq(strings.TrimPrefix(n.root, "/"), "/") {
		if name == "" {
			continue
		}
		path.WriteString("/" + name)
		if err := n.ensure(conn, path.String(), nil); err != nil {
			return err
		}
	}
	id := n.newID(s)
	data, err := json.Marshal(identity{ID: id})
	if err != nil {
		return err
	}
	_, err = conn.Multi(
		&zk.CreateRequest{Path: n.locksPath(), Data: data, Acl: n.acl},
		&zk.CreateRequest{Path: n.lifePath(id), Acl: n.acl})
	if err != nil && !errors.Is(err, zk.ErrNodeExists) {
		return fmt.Errorf("create %s: %w", n.locksPath(), err)
	}
	return nil
}

// ensure creates a znode if it is not there. A parent that is there need not
// allow that, so it is looked at first.
func (n *Node) ensure(conn *zk.Conn, path string, data []byte) error {
	if exists, _, err := conn.Exists(path); err != nil || exists {
		return err
	}
	_, err := conn.Create(path, data, 0, n.acl)
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return nil
}

// newID makes an identity that no other ensemble has: at one instant a session's
// id is given once by an ensemble, and two ensembles that one program founds at
// once have different names.
func (n *Node) newID(s session) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", n.name, s.name, n.clock.Wall().UnixNano(), n.ids.Add(1)))
	return hex.EncodeToString(sum[:16])
}

// cacheSize bounds the states remembered.
const cacheSize = 10_000

// recall gives a key as this node wrote or read it last. It may be long past, and
// is good for nothing but a write, which the server refuses then.
func (n *Node) recall(key string) (state, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st, ok := n.cache[key]
	return st, ok
}

// remember gives the state back, with when it was seen first.
func (n *Node) remember(key string, st state) state {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cache) >= cacheSize {
		for other := range n.cache { // any will do
			delete(n.cache, other)
			break
		}
	}
	old, ok := n.cache[key]
	ok = ok && st.ID == old.ID
	if ok && st.version < old.version && st.mtime <= old.mtime {
		return st // an answer that others have overtaken
	}
	if ok && st.version == old.version && st.mtime == old.mtime {
		st.seen = min(st.seen, old.seen)
	}
	n.cache[key] = st
	return st
}

func (n *Node) forget(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cache, key)
}

// giveBack ends the grants and the places of a closed node on a connection that
// goes on: its client would not end them any more.
func (n *Node) giveBack(lanes []*lane, watchers []*watcher) error {
	ctx, cancel := n.clock.WithTimeout(context.Background(), connectWait)
	defer cancel()
	done := make(chan error, len(lanes)+len(watchers))
	for _, w := range watchers {
		go func() { done <- n.makeWay(w) }()
	}
	for _, l := range lanes {
		go func() {
			l := n.enter(l.laneID)
			defer n.exit(l)
			if !l.held && !l.doubt {
				done <- nil
				return
			}
			done <- n.expire(l, false)
		}()
	}
	var errs []error
	for range cap(done) {
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-ctx.Done():
			return n.explain("close", errDoubt)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return n.explain("close", err)
	}
	return nil
}
