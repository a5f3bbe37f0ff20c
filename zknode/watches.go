package zknode

import (
	"encoding/binary"
	"math"

	"github.com/go-zookeeper/zk"
)

// watches are those of a link: who is told of an event by path. The driver's own
// would do, but when it connects anew it reads, to set them again, what it writes
// with every reply, without a lock (go-zookeeper/zk#35). A link sends the request
// that sets watches again from the start. No reply to it is needed: the server
// tells at once if a znode is gone, and the driver passes on every event and
// ignores a reply to a request that it does not know.
type watches map[string]chan zk.Event

// The request that sets watches again, and the number that ZooKeeper's own client
// gives it, which is none of the driver's.
const (
	setWatches   = 101
	setWatchesID = -8
)

// watchesSize bounds a request: a server takes 1 MiB at most.
const watchesSize = 128 << 10

// watch implements source.
func (l *link) watch(conn *zk.Conn, path string) (<-chan zk.Event, func(), error) {
	events := make(chan zk.Event, 1)
	l.mu.Lock()
	l.watches[path] = events
	w, up := l.wire, l.up
	l.mu.Unlock()
	if up {
		l.set(conn, w, path)
	}
	return events, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.watches[path] == events {
			delete(l.watches, path)
		}
	}, nil
}

// resume sets the watches again on a new connection; l.mu is held. It leaves the
// driver's goroutine free, which has its own deadlines.
func (l *link) resume() {
	var paths []string
	for path := range l.watches {
		paths = append(paths, path)
	}
	if conn, w := l.conn, l.wire; len(paths) > 0 {
		l.resuming.Go(func() { l.set(conn, w, paths...) })
	}
}

// set sets watches on a connection. If that ends, they are set anew on the next. A
// server may end one on which anything comes before the credentials, so a request of
// the driver's goes first: it comes behind them.
func (l *link) set(conn *zk.Conn, w *wire, paths ...string) {
	if len(l.opts.Auth) > 0 {
		if _, _, err := conn.Exists("/"); err != nil {
			return
		}
	}
	for len(paths) > 0 {
		var request []byte
		request, paths = watchRequest(paths)
		_, _ = w.Write(request)
	}
}

// notify passes on what happened to a znode; l.mu is held.
func (l *link) notify(e zk.Event) {
	if events, ok := l.watches[e.Path]; ok {
		delete(l.watches, e.Path)
		events <- e
	}
}

// watchRequest is a request for as many paths as fit in it.
func watchRequest(paths []string) (request []byte, rest []string) {
	integer := binary.BigEndian.AppendUint32
	id := int32(setWatchesID)
	request = integer(request, 0) // its length
	request = integer(request, uint32(id))
	request = integer(request, setWatches)
	request = binary.BigEndian.AppendUint64(request, math.MaxInt64) // changes before are of no interest
	count := len(request)
	request = integer(request, 0)
	n := 0
	for ; n < len(paths) && len(request) < watchesSize; n++ {
		request = append(integer(request, uint32(len(paths[n]))), paths[n]...)
	}
	request = integer(request, 0) // no watches for znodes to come
	request = integer(request, 0) // nor for children
	binary.BigEndian.PutUint32(request[count:], uint32(n))
	binary.BigEndian.PutUint32(request, uint32(len(request)-4))
	return request, paths[n:]
}
