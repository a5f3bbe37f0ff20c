package nodeurl_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/testserver"
	"github.com/quorumlock/redlock/nodeurl"
)

func TestZKNamesAreAddresses(t *testing.T) {
	for rawURL, name := range map[string]string{
		"zk://10.0.0.1":                             "10.0.0.1:2181/redlock",
		"zk://10.0.0.1/":                            "10.0.0.1:2181/redlock",
		"zk://zk/zk":                                "zk:2181/zk",
		"ZK://u:secret@a:1,b,c:3/prod/locks":        "a:1,b:2181,c:3/prod/locks",
		"zk://u:secr,et@a:1,b":                      "a:1,b:2181/redlock",
		"zk://[::1]:7000,[::2]/x/":                  "[::1]:7000,[::2]:2181/x",
		"zk://h?session=15s&durable=true&tls=false": "h:2181/redlock",
		"zk://h/a%20b?name=first":                   "first",
		"zk://h?tls=true&servername=zk.example":     "h:2181/redlock",
	} {
		assert.Equal(t, name, open(t, rawURL).Name(), rawURL)
	}
}

func TestZKErrorsSayWhatIsAllowed(t *testing.T) {
	for rawURL, want := range map[string]string{
		"zk://":                     "zk://HOST1:2181,HOST2:2181/ROOT",
		"zk:///locks":               "no host",
		"zk://a,,b":                 "no host, or an empty one",
		"zk://a,":                   "no host, or an empty one",
		"zk://:2181":                "no host",
		"zk://a:x,b":                "no port",
		"zk://a:0,b":                "between 1 and 65535",
		"zk://a:1,b:70000":          "between 1 and 65535",
		"zk://a//b":                 "path is that of a znode",
		"zk://a/../b":               "path is that of a znode",
		"zk://a/zookeeper/locks":    "ZooKeeper's own",
		"zk://a?session=15":         `"15" is not a time such as 20s`,
		"zk://a?session=-1s":        "is not a time",
		"zk://a?db=1":               `unknown parameter "db": allowed are ca, cert, durable, key, name, servername, session, tls`,
		"zk://a?tls=maybe":          "neither true nor false",
		"zk://a?tls=false&ca=/x":    "it is false",
		"zk://a?ca=/does/not/exist": "no such file",
		"zk://me@a":                 nodeurl.ZKPasswordVar,
		"zk://:s3cret@a":            nodeurl.ZKUserVar,
		"zk://a%3Ab:s3cret@a":       "a user name with a ':'",
	} {
		node, err := nodeurl.Open(t.Context(), rawURL)
		if assert.ErrorContains(t, err, want, rawURL) {
			assert.NotContains(t, err.Error(), "s3cret", rawURL)
		}
		assert.Nil(t, node, rawURL)
	}
}

func TestZKErrorsNeverShowAPassword(t *testing.T) {
	for _, rawURL := range []string{
		"zk://u:s3cret%zz@a,b",
		"zk://u:s3cret/x@a,b",
		"zk://u:s3cret,a:1",
		"zk://a,u:s3cret",
		"zk://u:s3cret@a:1,s3cret:x",
		"zk://u:s3cret@a,[::1",
		"zk://u:s3cret@a?color=red",
		"zk://u:s3cret@a//b",
		"zk://u:s3cret@",
	} {
		if _, err := nodeurl.Open(t.Context(), rawURL); assert.Error(t, err, rawURL) {
			assert.NotContains(t, err.Error(), "s3cret", rawURL)
		}
	}
}

func TestZK(t *testing.T) {
	s := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{MaxSession: time.Hour})
	try := func(t *testing.T, rawURL string) (redlock.Vote, error) {
		t.Helper()
		return open(t, rawURL).Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner, TTL: 10 * time.Second})
	}
	t.Run("parameters", func(t *testing.T) {
		vote, err := try(t, "zk://"+s.Addr()+"/params?durable=true&session=15s")
		require.NoError(t, err)
		assert.True(t, vote.Granted)
		assert.Zero(t, vote.Age)
		vote, err = try(t, "zk://"+s.Addr()+"/params")
		require.NoError(t, err)
		assert.Positive(t, vote.Age)
		_, err = try(t, "zk://"+s.Addr()+"/params?session=10s")
		assert.ErrorContains(t, err, "a session timeout of 10s")
	})
	t.Run("credentials", func(t *testing.T) {
		escaped := strings.ReplaceAll(url.QueryEscape(oddPassword), "+", "%20")
		vote, err := try(t, "zk://alice:"+escaped+"@"+s.Addr()+"/secret")
		require.NoError(t, err)
		assert.True(t, vote.Granted)
		for _, other := range []string{"", "alice:s3cret@"} {
			_, err = try(t, "zk://"+other+s.Addr()+"/secret")
			if assert.ErrorContains(t, err, "ACL", other) {
				assert.NotContains(t, err.Error(), "s3cret")
			}
		}
		t.Setenv(nodeurl.ZKUserVar, "alice")
		t.Setenv(nodeurl.ZKPasswordVar, oddPassword)
		_, err = try(t, "zk://"+s.Addr()+"/secret")
		require.NoError(t, err)
		_, err = try(t, "zk://alice@"+s.Addr()+"/secret")
		require.NoError(t, err)
	})
	t.Run("TLS", func(t *testing.T) {
		pair, certFile, keyFile := certificate(t, t.TempDir())
		pool := x509.NewCertPool()
		pool.AddCert(pair.Leaf)
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientCAs:    pool,
			ClientAuth:   tls.RequireAndVerifyClientCert,
		})
		require.NoError(t, err)
		relay(t, l, s.Addr())
		secured := "zk://" + net.JoinHostPort("127.0.0.1", portOf(t, l)) + "/tls?cert=" + url.QueryEscape(certFile) + "&key=" + url.QueryEscape(keyFile)
		ca := "&ca=" + url.QueryEscape(certFile)

		vote, err := try(t, secured+ca+"&servername=redis.example")
		require.NoError(t, err)
		assert.True(t, vote.Granted)
		_, err = try(t, secured+"&tls=skip-verify")
		require.NoError(t, err)
		_, err = try(t, secured+ca)
		assert.ErrorContains(t, err, "TLS with", "the certificate is for another name")
		_, err = try(t, secured+"&servername=redis.example")
		assert.ErrorContains(t, err, "TLS with", "the certificate is not the system's to trust")
	})
}

func portOf(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}
