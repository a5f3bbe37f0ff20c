package nodeurl_test

import (
	"context"
	"database/sql"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodeurl"
)

func TestMySQLNamesAreAddresses(t *testing.T) {
	for rawURL, name := range map[string]string{
		"mysql://10.0.0.1/locks":                             "10.0.0.1:3306/locks",
		"mysql://10.0.0.1:3307/locks/":                       "10.0.0.1:3307/locks",
		"mysql://u:secret@[::1]/locks?mode=session":          "[::1]:3306/locks",
		"mysql://u@/locks?socket=%2Frun%2Fmysqld.sock":       "/run/mysqld.sock/locks",
		"mysql://u:secret@h/locks?name=a&durable=1&table=t":  "a",
		"mysql://u@h?table=other.locks":                      "h:3306/",
		"mysql://u@h?mode=session&notable=true&proxied=true": "h:3306/",
		"mysql://u@h/locks?tls=false&mode=lease":             "h:3306/locks",
		"mysql://u@h/locks?tls=skip-verify&servername=other": "h:3306/locks",
	} {
		require.Equal(t, name, open(t, rawURL).Name(), rawURL)
	}
}

func TestMySQLErrorsSayWhatIsAllowed(t *testing.T) {
	for rawURL, want := range map[string]string{
		"mysql://h":                              "it has no database: write mysql://HOST:3306/DATABASE",
		"mysql:///locks":                         "it has no host",
		"mysql://h/a/b":                          "the path is the database",
		"mysql://h:0/locks":                      "the port is not between",
		"mysql://h/locks?socket=/s":              "a host and a socket",
		"mysql://:secret@h/locks":                "a password without a user name",
		"mysql://h/locks?mode=rows":              `"rows" is neither lease nor session`,
		"mysql://h/locks?mode=session&durable=1": "frees all session locks",
		"mysql://h/locks?notable=true":           "it is for mode=session",
		"mysql://h/locks?tls=maybe":              "none of true, false and skip-verify",
		"mysql://h/locks?tls=false&ca=f":         "another one is for TLS",
		"mysql://h/locks?ca=nowhere.pem":         `parameter "ca"`,
		"mysql://h/locks?cert=c.pem":             "belong together",
		"mysql://h/locks?db=1":                   "allowed are ca, cert, durable, key, mode, name, notable, proxied, servername, socket, table, tls",
	} {
		_, err := nodeurl.Open(t.Context(), rawURL)
		require.ErrorContains(t, err, want, rawURL)
		require.NotContains(t, err.Error(), "secret")
	}
}

// prepareTables creates a node's tables, as redlock nodes --init does.
func prepareTables(t *testing.T, node redlock.Node) {
	t.Helper()
	require.NoError(t, node.(interface{ Init(context.Context) error }).Init(t.Context()))
}

func TestMySQL(t *testing.T) {
	s := testserver.StartMariaDB(t)
	db, err := sql.Open("mysql", s.DSN())
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("GRANT ALL ON locks.* TO 'locks' IDENTIFIED BY 'p@ss/w?rd%'")
	require.NoError(t, err)

	escaped := "mysql://locks:" + url.QueryEscape("p@ss/w?rd%") + "@" + s.Addr() + "/locks"
	for _, rawURL := range []string{escaped, escaped + "?mode=session", escaped + "?table=more"} {
		node := open(t, rawURL)
		prepareTables(t, node)
		acquire(t, node)
	}
	acquire(t, open(t, "mysql://root@/?table=locks.third&mode=session&notable=true&socket="+url.QueryEscape(s.Socket())))

	t.Setenv(nodeurl.MySQLPasswordVar, "p@ss/w?rd%")
	acquire(t, open(t, "mysql://locks@"+s.Addr()+"/locks"))
	t.Setenv(nodeurl.MySQLUserVar, "locks")
	acquire(t, open(t, "mysql://"+s.Addr()+"/locks"))
}

func TestMySQLOverTLS(t *testing.T) {
	_, cert, key := certificate(t, t.TempDir())
	s := testserver.StartMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key, "--ssl-ca="+cert)
	base := "mysql://root@" + s.Addr() + "/locks?"
	ca := "servername=redis.example&ca=" + url.QueryEscape(cert)
	node := open(t, base+ca)
	prepareTables(t, node)
	acquire(t, node)
	acquire(t, open(t, base+"tls=skip-verify"))
	acquire(t, open(t, base+ca+"&cert="+url.QueryEscape(cert)+"&key="+url.QueryEscape(key)))
	for query, want := range map[string]string{
		"tls=true": "certificate",
		"servername=other.local&ca=" + url.QueryEscape(cert): "other.local",
	} {
		_, err := open(t, base+query).Acquire(t.Context(), redlock.AcquireRequest{Key: "k2", Owner: owner, TTL: 1e9})
		require.ErrorContains(t, err, want)
	}
	plain := testserver.StartMariaDB(t)
	_, err := open(t, "mysql://root@"+plain.Addr()+"/locks?tls=true").Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner, TTL: 1e9})
	require.ErrorContains(t, err, "does not speak TLS")
}
