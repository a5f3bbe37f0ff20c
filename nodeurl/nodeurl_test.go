package nodeurl_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/alicebob/miniredis/v2"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/nodeurl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const owner = "0123456789abcdef0123456789abcdef"

// open opens a node and closes it with the test.
func open(t *testing.T, rawURL string) redlock.Node {
	t.Helper()
	node, err := nodeurl.Open(t.Context(), rawURL)
	require.NoError(t, err)
	if c, ok := node.(io.Closer); ok {
		t.Cleanup(func() { assert.NoError(t, c.Close()) })
	}
	return node
}

// acquire shows that a node works.
func acquire(t *testing.T, node redlock.Node) {
	t.Helper()
	vote, err := node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner, TTL: time.Minute})
	require.NoError(t, err)
	require.True(t, vote.Granted)
}

func startMini(t *testing.T, prepare func(*miniredis.Miniredis)) *miniredis.Miniredis {
	t.Helper()
	m := miniredis.NewMiniRedis()
	prepare(m)
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	return m
}

func none(*miniredis.Miniredis) {}

func TestNamesAreAddresses(t *testing.T) {
	for rawURL, name := range map[string]string{
		"redis://10.0.0.1":                          "10.0.0.1:6379/0",
		"redis://10.0.0.1/":                         "10.0.0.1:6379/0",
		"redis://10.0.0.1:7000/3":                   "10.0.0.1:7000/3",
		"redis://10.0.0.1?db=3":                     "10.0.0.1:6379/3",
		"REDIS://u:secret@redis.example":            "redis.example:6379/0",
		"redis://:secret@[::1]:7000":                "[::1]:7000/0",
		"redis://[::1]":                             "[::1]:6379/0",
		"rediss://u:secret@redis.example":           "redis.example:6379/0",
		"unix:///run/redis.sock?db=2":               "/run/redis.sock/2",
		"unix://u:secret@/run/my%20redis.sock":      "/run/my redis.sock/0",
		"redis://u:secret@h?name=first%40home":      "first@home",
		"redis://h?durable=true&proxied=1&prefix=p": "h:6379/0",
		"mem://one":                                 "one",
	} {
		assert.Equal(t, name, open(t, rawURL).Name(), rawURL)
	}
}

func TestOpenDoesNotWaitForTheServer(t *testing.T) {
	node := open(t, "redis://127.0.0.1:1")
	_, err := node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner, TTL: time.Second})
	assert.Error(t, err, "a node that is down does not vote")
}

func TestParametersReachTheNode(t *testing.T) {
	m := startMini(t, none)
	acquire(t, open(t, "redis://"+m.Addr()+"/2?prefix=jobs:&durable=true"))
	keys := strings.Join(m.DB(2).Keys(), " ")
	assert.Contains(t, keys, "jobs:")
	assert.Empty(t, m.DB(0).Keys())

	vote, err := open(t, "redis://"+m.Addr()+"?durable=true").Acquire(t.Context(),
		redlock.AcquireRequest{Key: "k", Owner: owner, TTL: time.Minute})
	require.NoError(t, err)
	assert.Zero(t, vote.Age, "a durable node has lost nothing")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "redis.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	m := startMini(t, none)
	relay(t, l, m.Addr())
	acquire(t, open(t, "unix://"+path+"?durable=true"))
}

// relay carries what comes in at l to a server.
func relay(t *testing.T, l net.Listener, addr string) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
}

// Credentials with every character that means something in a URL.
const oddPassword = `p@ss/w?o#r%d:&=+ "é`

func TestCredentials(t *testing.T) {
	alice := startMini(t, func(m *miniredis.Miniredis) { m.RequireUserAuth("alice", oddPassword) })
	plain := startMini(t, func(m *miniredis.Miniredis) { m.RequireAuth(oddPassword) })
	escaped := url.QueryEscape(oddPassword)
	escaped = strings.ReplaceAll(escaped, "+", "%20")

	t.Run("of the URL", func(t *testing.T) {
		t.Setenv(nodeurl.UsernameVar, "bob")
		t.Setenv(nodeurl.PasswordVar, "wrong")
		acquire(t, open(t, "redis://alice:"+escaped+"@"+alice.Addr()+"?durable=true"))
		acquire(t, open(t, "redis://:"+escaped+"@"+plain.Addr()+"?durable=true"))
	})
	t.Run("of the environment", func(t *testing.T) {
		t.Setenv(nodeurl.UsernameVar, "alice")
		t.Setenv(nodeurl.PasswordVar, oddPassword)
		acquire(t, open(t, "redis://"+alice.Addr()+"?durable=true"))
	})
	t.Run("password of the environment alone", func(t *testing.T) {
		t.Setenv(nodeurl.PasswordVar, oddPassword)
		acquire(t, open(t, "redis://"+plain.Addr()+"?durable=true"))
		acquire(t, open(t, "redis://alice@"+alice.Addr()+"?durable=true"))
	})
	t.Run("a user name without a password", func(t *testing.T) {
		_, err := nodeurl.Open(t.Context(), "redis://s3cret@"+plain.Addr())
		require.ErrorContains(t, err, nodeurl.PasswordVar)
		assert.NotContains(t, err.Error(), "s3cret", "it may be a password in the wrong place")
	})
	t.Run("wrong", func(t *testing.T) {
		node := open(t, "redis://alice:s3cret@"+alice.Addr())
		_, err := node.Inspect(t.Context(), "k")
		require.Error(t, err)
		assert.NotContains(t, err.Error()+node.Name(), "s3cret")
	})
}

func TestErrorsSayWhatIsAllowed(t *testing.T) {
	for rawURL, want := range map[string]string{
		"":                              "not a URL",
		"10.0.0.1:6379":                 "not a URL",
		"redis:10.0.0.1":                "not a URL",
		"http://10.0.0.1":               `unknown scheme "http": known are redis://HOST:6379/0, rediss://`,
		"redis://":                      "no host",
		"redis:///0":                    "no host",
		"redis://:7000":                 "no host",
		"redis://h:0":                   "between 1 and 65535",
		"redis://h:70000":               "between 1 and 65535",
		"redis://h:x":                   "no port",
		"redis://h/x":                   "the path is the database",
		"redis://h/1/2":                 "the path is the database",
		"redis://h/-1":                  "the path is the database",
		"redis://h/1?db=1":              "given in the path already",
		"redis://h?db=x":                `"x" is not a number`,
		"redis://h?db=":                 "not a number",
		"redis://h?durable=maybe":       "neither true nor false",
		"redis://h?durable":             "neither true nor false",
		"redis://h?name=":               "no value",
		"redis://h?prefix={x}":          "must not contain '{'",
		"redis://h?color=red":           `unknown parameter "color": allowed are ca, cert, db, durable`,
		"redis://h?db=1&db=2":           "given 2 times",
		"redis://h?db=1;durable=1":      "cannot be parsed",
		"redis://h?ca=/x":               "use rediss://",
		"redis://h#x":                   "write it as %23",
		"redis://[::1":                  "host is not valid",
		"redis://::1":                   "in brackets, as in [::1]:6379",
		"redis://::1:6379/0":            "in brackets, as in [::1]:6379",
		"redis://:::":                   "in brackets",
		"rediss://fe80::1":              "in brackets, as in [::1]:6379",
		"mysql://u:p@::1/db":            "in brackets, as in [::1]:3306",
		"zk://h,::1":                    "in brackets, as in [::1]:2181",
		"redis://h,i":                   "several hosts, but is of one server: write redis://HOST:6379/0, a URL for each",
		"redis://h:1,i:2":               "several hosts",
		"rediss://h,i":                  "write rediss://HOST:6379/0",
		"mysql://u:p@h,i/db":            "write mysql://HOST:3306/DATABASE, a URL for each",
		"rediss://h?ca=/does/not/exist": "no such file",
		"rediss://h?cert=/x":            "belong together",
		"rediss://h?cert=/x&key=/x":     "no such file",
		"unix://":                       "unix:///PATH/TO/SOCKET",
		"unix://run/redis.sock":         "absolute path",
		"unix:///run/redis.sock?ca=/x":  "use rediss://",
		"mem://":                        "mem://NAME",
		"mem://a/b":                     "mem://NAME",
		"mem://u:p@a":                   "mem://NAME",
		"mem://a?durable=true":          "none are allowed",
	} {
		node, err := nodeurl.Open(t.Context(), rawURL)
		if assert.ErrorContains(t, err, want, rawURL) {
			assert.True(t, strings.HasPrefix(err.Error(), "nodeurl: "), err)
		}
		assert.Nil(t, node, rawURL)
	}
}

// A password that is not escaped puts its parts where host, port, path, query or
// fragment belong. Errors about those quote nothing.
func TestErrorsNeverShowAPassword(t *testing.T) {
	for _, rawURL := range []string{
		"redis://u:s3cret%zz@h",
		"redis://u:s3cret%@h",
		"redis://u%s3:s3cret@h",
		"redis://u:s3cret/x@h",
		"redis://u:1/s3cret@h",
		"redis://u:1?s3cret@h",
		"redis://u:1#s3cret@h",
		"redis://u:p?s3cret=1@h",
		"redis://u:p@h/s3cret@h",
		"redis://u:s3cret@h:s3cret",
		"redis://u:s3cret@h:99999",
		"redis://u:s3cret",
		"redis://:s3cret",
		"redis://u:s3cret \x7f@h",
		"redis://u:s3cret^`{}@h h",
		"redis://u:s3cret@[::1",
		"redis://u:s3cret@",
		"redis://u:s3cret@h/x",
		"redis://u:s3cret@h?color=red",
		"redis://u:s3cret@h?%zz",
		"nosuch://u:s3cret@h",
		"u:s3cret@h",
		"redis:u:s3cret@h",
		"u:s3cret@redis://h",
		"rediss://u:s3cret@h?ca=/does/not/exist",
		"unix://u:s3cret@run/sock",
		"mem://u:s3cret@a",
	} {
		_, err := nodeurl.Open(t.Context(), rawURL)
		if assert.Error(t, err, rawURL) {
			assert.NotContains(t, err.Error(), "s3cret", rawURL)
		}
		_, _, err = nodeurl.OpenAll(t.Context(), []string{"mem://a", rawURL})
		if assert.ErrorContains(t, err, "node 2 of 2", rawURL) {
			assert.NotContains(t, err.Error(), "s3cret", rawURL)
		}
	}
}

func TestOneNameIsOneMemoryNode(t *testing.T) {
	acquire(t, open(t, "mem://shared"))
	state, err := open(t, "mem://shared").Inspect(t.Context(), "k")
	require.NoError(t, err)
	assert.Equal(t, owner, state.Owner)
	state, err = open(t, "mem://other").Inspect(t.Context(), "k")
	require.NoError(t, err)
	assert.False(t, state.Held)
}

func TestDeadContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := nodeurl.Open(ctx, "mem://a")
	assert.ErrorIs(t, err, context.Canceled)
}

func TestOpenAllClosesWhatItOpened(t *testing.T) {
	m := startMini(t, none)
	nodes, closeAll, err := nodeurl.OpenAll(t.Context(), []string{"redis://" + m.Addr(), "mem://a"})
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	acquire(t, nodes[0])
	require.NoError(t, closeAll())
	_, err = nodes[0].Inspect(t.Context(), "k")
	assert.Error(t, err)
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pair, certFile, keyFile := certificate(t, dir)
	pool := x509.NewCertPool()
	pool.AddCert(pair.Leaf)
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.StartTLS(&tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}))
	t.Cleanup(m.Close)
	query := "?durable=true&cert=" + url.QueryEscape(certFile) + "&key=" + url.QueryEscape(keyFile)
	inspect := func(query string) error {
		_, err := open(t, "rediss://"+m.Addr()+query).Inspect(t.Context(), "k")
		return err
	}

	ca := "&ca=" + url.QueryEscape(certFile)
	assert.NoError(t, inspect(query+ca+"&servername=redis.example"))
	assert.Error(t, inspect(query+ca), "the certificate is for another name")
	assert.Error(t, inspect(query+"&servername=redis.example"), "the certificate is not the system's to trust")
	assert.Error(t, inspect("?servername=redis.example"+ca), "the server wants to see a certificate")

	_, err := nodeurl.Open(t.Context(), "rediss://h?ca="+url.QueryEscape(keyFile))
	assert.ErrorContains(t, err, "no PEM certificate")
}

// certificate makes one for redis.example, its own authority.
func certificate(t *testing.T, dir string) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		DNSNames:              []string{"redis.example"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyBytes, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyBytes}), 0o600),
	))
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	pair.Leaf, err = x509.ParseCertificate(cert)
	require.NoError(t, err)
	return pair, certFile, keyFile
}
