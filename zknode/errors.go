package zknode

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-zookeeper/zk"
	"github.com/quorumlock/redlock"
)

var (
	errTTL       = errors.New("the TTL must be positive")
	errToken     = fmt.Errorf("the token is larger than %d (redlock.MaxFence)", uint64(redlock.MaxFence))
	errKeyLength = fmt.Errorf("the key is longer than %d bytes (redlock.MaxKeyLength)", redlock.MaxKeyLength)
	errUsedUp    = errors.New("the fences of this key are used up")
	errBusy      = errors.New("other programs change the key faster than this one can")
)

// explain names the node and the operation, and adds what most likely is wrong
// where a user would have to guess.
func (n *Node) explain(op string, err error) error {
	if why := explanation(err); why != "" {
		return fmt.Errorf("zknode %s: %s: %s: %w", n.name, op, why, err)
	}
	return fmt.Errorf("zknode %s: %s: %w", n.name, op, err)
}

const closed = "the server closed the connection: it may lack a quorum, have too many connections from here (maxClientCnxns), or want TLS"

// explanations go by what an error is. The first that fits is given.
var explanations = []struct {
	err error
	why string
}{
	{errForeign, "is another kind of server on this port, or does it want TLS?"},
	{io.EOF, closed},
	{zk.ErrNoAuth, "the ACL of a znode does not allow this: see Options.Auth and Options.ACL, and the ACLs from Options.Root on"},
	{zk.ErrInvalidACL, "the server does not take Options.ACL; the scheme auth needs Options.Auth"},
	{zk.ErrAuthFailed, "the server does not take these credentials"},
	{zk.ErrSessionExpired, "the session has expired, and its grants with it"},
	{zk.ErrConnectionClosed, "the connection was lost with the request on its way, so its outcome is unknown"},
	{zk.ErrNoServer, "no server can be reached"},
	{zk.ErrClosing, "the connection is being closed"},
	{zk.ErrSessionMoved, "the session has moved to another server"},
}

// codes are those that the driver has no errors for.
var codes = []struct{ text, why string }{
	{"unknown error: -119", "the server is read-only: it has lost its quorum"},
	{"unknown error: -125", "a quota is used up"},
	{"unknown error: -127", "the server has too much to do"},
	{"connection reset", closed},
	{"first record does not look like a TLS handshake", "the server does not speak TLS on this port"},
}

func explanation(err error) string {
	for _, e := range explanations {
		if errors.Is(err, e.err) {
			return e.why
		}
	}
	for _, c := range codes {
		if strings.Contains(err.Error(), c.text) {
			return c.why
		}
	}
	return ""
}

// stale says that a request failed because the key is not as was thought. It was
// not carried out.
func stale(err error) bool {
	return errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNodeExists) ||
		errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNotEmpty)
}

// callError says that nothing was written because of the znode that a waiter is
// called by.
type callError struct{ error }

// Unwrap gives the server's error.
func (e *callError) Unwrap() error { return e.error }

// firstFailed is the index of the request for which the server refused all of
// them; negative if there is none.
func firstFailed(results []zk.MultiResponse) int {
	return slices.IndexFunc(results, func(r zk.MultiResponse) bool { return r.Error != nil })
}

// unfulfilled says that the server answered and did not do it. After any other
// error it may have been done, or yet be.
func unfulfilled(err error) bool {
	return stale(err) || errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrInvalidACL) ||
		errors.Is(err, zk.ErrAuthFailed) || errors.Is(err, zk.ErrInvalidPath)
}
