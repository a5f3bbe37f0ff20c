package redisnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/quorumlock/redlock"
)

var (
	errTTL       = errors.New("the TTL must be positive")
	errToken     = fmt.Errorf("the token is larger than %d (redlock.MaxFence)", uint64(redlock.MaxFence))
	errKeyLength = fmt.Errorf("the key is longer than %d bytes (redlock.MaxKeyLength)", redlock.MaxKeyLength)
)

// within makes a call and returns when it ends or its context does. The driver
// ignores a plain cancel while it reads from a socket, and by default deadlines
// too, so the call runs on its own and is abandoned then; the driver's timeouts
// end it.
func within[T any](ctx context.Context, clock redlock.Clock, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if ctx.Done() == nil {
		return call()
	}
	results := make(chan result, 1)
	go func() {
		value, err := call()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		if r.err == nil {
			return r.value, nil
		}
		return none, ofContext(ctx, clock, r.err)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// ofContext makes sure that an error of a call whose context ended says so. The
// driver puts the context's deadline on the socket, and that may fire a moment
// before the context itself.
func ofContext(ctx context.Context, clock redlock.Clock, err error) error {
	deadline, ok := ctx.Deadline()
	if ok && errors.Is(err, os.ErrDeadlineExceeded) && !clock.Wall().Before(deadline) {
		<-ctx.Done()
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w (%w)", ended, err)
	}
	return err
}

// explain names the node and the operation, and adds what most likely is wrong
// where a user would have to guess.
func (n *Node) explain(op string, err error) error {
	why := explanation(err)
	if n.cluster && why == needsCluster {
		why = "the cluster's servers do not agree on which of them serves this key"
	}
	if why != "" {
		return fmt.Errorf("redisnode %s: %s: %s: %w", n.name, op, why, err)
	}
	return fmt.Errorf("redisnode %s: %s: %w", n.name, op, err)
}

const needsCluster = "the server belongs to a cluster: give New a redis.ClusterClient"

// explanations go by what a server's error, or the driver's, contains.
var explanations = []struct{ text, why string }{
	{"NOAUTH", "the server needs a password"},
	{"unauthenticated", "the server needs a password"}, // so many arguments: Redis cuts strangers short
	{"WRONGPASS", "the server does not take this user name or password"},
	{"invalid password", "the server does not take this password"},
	{"without any password configured", "the server has no password, but one was given"},
	{"NOINFO", "cannot learn how old the server's data is: grant its user +info, or declare the node Durable if it is"},
	{"NOUPTIME", "cannot learn how old the server's data is: declare the node Durable if it is"},
	{"NOPERM", "the user's ACL does not allow this (see the package documentation)"},
	{"executing the script can't", "the user's ACL does not allow this (see the package documentation)"},
	{"READONLY", "the server is a replica: a node must be a master"},
	{"LOADING", "the server is still loading its data"},
	{"CROSSSLOT", needsCluster},
	{"MOVED", needsCluster},
	{"TRYAGAIN", "the cluster is moving this key from one server to another"},
	{"CLUSTERDOWN", "the cluster does not serve this key"},
	{"MASTERDOWN", "the replica has lost its master"},
	{"WRONGTYPE", "the key's name is taken by other data; set another Options.Prefix"},
	{"something else than a counter", "the key's name is taken by other data; set another Options.Prefix"},
	{"OOM", "the server is out of memory (maxmemory)"},
	{"MISCONF", "the server refuses writes because it cannot save to disk"},
	{"NOREPLICAS", "the server refuses writes because it lacks replicas"},
	{"unknown command", "the server lacks a command (is it Redis 6.2 or later?)"},
	{"connection reset", "the server closed the connection"},
	{"redis: can't parse", "not a Redis reply; is another kind of server on this port?"},
	{"redis: invalid reply", "not a Redis reply; is another kind of server on this port?"},
	{"first record does not look like a TLS handshake", "the server does not speak TLS on this port"},
}

// isReplica finds what a server says that takes no writes, as it is no master.
func isReplica(err error) bool { return err != nil && strings.Contains(err.Error(), "READONLY") }

func explanation(err error) string {
	if errors.Is(err, io.EOF) {
		return "the server closed the connection"
	}
	text := err.Error()
	for _, e := range explanations {
		if strings.Contains(text, e.text) {
			return e.why
		}
	}
	return ""
}
