// Package nodeurl opens nodes from URLs, as command lines and configuration
// files have them.
//
//	redis://[USER:PASSWORD@]HOST[:PORT][/DB]    a Redis server; port 6379, database 0
//	rediss://[USER:PASSWORD@]HOST[:PORT][/DB]   the same over TLS
//	unix://[USER:PASSWORD@]/PATH/TO/SOCKET      a Redis server's Unix socket
//	mysql://[USER:PASSWORD@]HOST[:PORT]/DB      a MySQL or MariaDB server; port 3306
//	zk://[USER:PASSWORD@]HOST[:PORT],.../ROOT   a ZooKeeper ensemble; port 2181, root redlock
//	mem://NAME                                  a node in this process, for tests and examples
//
// Parameters follow a question mark, as in redis://10.0.0.1?durable=true&prefix=jobs.
// These are for all but mem, which takes none:
//
//	durable=true       the server loses no grant in a restart, so it need not wait before it votes
//	name=TEXT          the node's name in errors, events and logs, instead of its address
//	ca=FILE            PEM certificates to trust instead of the system's
//	cert=FILE key=FILE this client's PEM certificate and key
//	servername=HOST    the name the server's certificate must have, if not HOST
//
// Redis takes the ones about TLS with rediss; for mysql and zk any of them, or
// tls=true, asks for TLS, and tls=skip-verify for one that trusts any certificate.
// Session locks of mysql are never durable. The others are for one kind:
//
//	db=N               redis: the database, as in the path; the only form for unix://
//	prefix=TEXT        redis: begins every key stored on the server
//	proxied=true       redis, mysql: a proxy or load balancer is in between
//	mode=session       mysql: session locks (GET_LOCK) instead of lease rows (mode=lease)
//	table=NAME         mysql: the table's name
//	notable=true       mysql: session locks without a table, for want of rights
//	socket=PATH        mysql: a Unix socket, instead of the host
//	session=DURATION   zk: the session timeout, such as 20s; at least 4/3 of the longest TTL
//
// Their meaning is that of the fields of redisnode.Options, mysqlnode.Options and
// zknode.Options.
//
// # Credentials
//
// A password comes from the URL or, when the URL has none, from the environment:
// REDLOCK_REDIS_PASSWORD, REDLOCK_MYSQL_PASSWORD or REDLOCK_ZK_PASSWORD. So does
// the user name, from REDLOCK_REDIS_USERNAME, REDLOCK_MYSQL_USER or
// REDLOCK_ZK_USER. For Redis it may be left out: redis://:PASSWORD@HOST. Within a URL, write '%' as %25, '/' as %2F, '?' as %3F,
// '#' as %23 and '@' as %40. Neither is ever part of a node's name or of an error
// of this package, not even of one about a URL that cannot be parsed.
package nodeurl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/quorumlock/redlock"
)

// scheme is one kind of URL.
type scheme struct {
	name string
	form string // an example, for errors
	open func(u *url.URL, form string) (redlock.Node, error)
}

// schemes are the kinds of URLs there are, in the order errors name them.
var schemes = []scheme{
	{"redis", "redis://HOST:6379/0", openRedis},
	{"rediss", "rediss://HOST:6379/0", openRedis},
	{"unix", "unix:///PATH/TO/SOCKET?db=0", openRedis},
	{"mysql", "mysql://HOST:3306/DATABASE", openMySQL},
	{"zk", "zk://HOST1:2181,HOST2:2181/ROOT", openZK},
	{"mem", "mem://NAME", openMem},
}

// Open makes the node that a URL names; the package comment lists the forms. It
// checks the URL, and reads the files it names, but does not wait for the
// server: a node that is down is a node that does not vote, and one that comes
// up later votes then. A server that needs another password, or is none, shows
// with the first vote asked.
//
// A node that holds connections implements io.Closer; close it when its Locker
// is closed. Every call makes a node of its own, but for mem URLs: within a
// process, one name is one node.
func Open(ctx context.Context, rawURL string) (redlock.Node, error) {
	node, err := open(ctx, rawURL)
	if err != nil {
		return nil, fmt.Errorf("nodeurl: %w", err)
	}
	return node, nil
}

// OpenAll opens a node for each URL, in order, and gives a function that closes
// them all. If one cannot be opened, none stays open, and the error tells which
// one it was by its position, counted from 1.
func OpenAll(ctx context.Context, rawURLs []string) ([]redlock.Node, func() error, error) {
	nodes := make([]redlock.Node, 0, len(rawURLs))
	closeAll := func() error {
		var errs []error
		for _, n := range nodes {
			if c, ok := n.(io.Closer); ok {
				errs = append(errs, c.Close())
			}
		}
		return errors.Join(errs...)
	}
	for i, rawURL := range rawURLs {
		node, err := open(ctx, rawURL)
		if err != nil {
			_ = closeAll() // nothing was asked of them
			return nil, nil, fmt.Errorf("nodeurl: node %d of %d: %w", i+1, len(rawURLs), err)
		}
		nodes = append(nodes, node)
	}
	return nodes, closeAll, nil
}

func open(ctx context.Context, rawURL string) (redlock.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	for _, s := range schemes {
		if s.name != u.Scheme {
			continue
		}
		node, err := s.open(u, s.form)
		if err != nil {
			return nil, fmt.Errorf("%s URL: %w", s.name, err)
		}
		return node, nil
	}
	return nil, fmt.Errorf("unknown scheme %q: known are %s", u.Scheme, knownForms())
}

func knownForms() string {
	forms := make([]string, len(schemes))
	for i, s := range schemes {
		forms[i] = s.form
	}
	return strings.Join(forms, ", ")
}
