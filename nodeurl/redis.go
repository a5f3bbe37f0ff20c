package nodeurl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/redisnode"
)

// The environment variables that hold the credentials of Redis servers whose
// URL has none.
const (
	UsernameVar = "REDLOCK_REDIS_USERNAME"
	PasswordVar = "REDLOCK_REDIS_PASSWORD"
)

const defaultRedisPort = "6379"

// openRedis opens redis, rediss and unix URLs.
func openRedis(u *url.URL, form string) (redlock.Node, error) {
	opts := redisnode.Options{}
	var err error
	if opts.Username, opts.Password, err = credentials(u.User); err != nil {
		return nil, err
	}
	if u.Scheme == "unix" {
		err = socketAddress(u, &opts, form)
	} else {
		err = tcpAddress(u, &opts, form)
	}
	if err != nil {
		return nil, err
	}
	if err := redisParams(u, &opts); err != nil {
		return nil, err
	}
	return redisnode.New(nil, opts), nil
}

// redisParams fills in what the query says.
func redisParams(u *url.URL, opts *redisnode.Options) error {
	allowed := params{
		"db":      number(&opts.DB),
		"durable": boolean(&opts.Durable),
		"name":    text(&opts.Name),
		"prefix":  prefix(&opts.Prefix),
		"proxied": boolean(&opts.Proxied),
	}
	files := tlsFiles{serverName: u.Hostname()}
	ofTLS := params{
		"ca":         text(&files.ca),
		"cert":       text(&files.cert),
		"key":        text(&files.key),
		"servername": text(&files.serverName),
	}
	for name, take := range ofTLS {
		if u.Scheme != "rediss" {
			take = func(string) error { return errors.New("it is for TLS: use rediss://") }
		}
		allowed[name] = take
	}
	if u.Scheme != "unix" && strings.Trim(u.Path, "/") != "" {
		allowed["db"] = func(string) error { return errors.New("the database is given in the path already") }
	}
	if err := allowed.apply(u.RawQuery); err != nil || u.Scheme != "rediss" {
		return err
	}
	config, err := files.config()
	opts.TLS = config
	return err
}

// prefix is a text that does not decide on a key's cluster slot.
func prefix(to *string) func(string) error {
	return func(value string) error {
		if strings.Contains(value, "{") {
			return errors.New("it must not contain '{'")
		}
		return text(to)(value)
	}
}

// tcpAddress takes HOST[:PORT][/DB].
func tcpAddress(u *url.URL, opts *redisnode.Options, form string) error {
	var err error
	if opts.Addr, err = oneServer(u.Host, defaultRedisPort, form); err != nil {
		return err
	}
	opts.Network = "tcp"
	if db := strings.Trim(u.Path, "/"); db != "" {
		if err := number(&opts.DB)(db); err != nil {
			return fmt.Errorf("the path is the database, and %w: write %s", err, form)
		}
	}
	return nil
}

// socketAddress takes the path of a Unix socket.
func socketAddress(u *url.URL, opts *redisnode.Options, form string) error {
	if u.Host != "" || u.Path == "" || u.Path == "/" {
		return fmt.Errorf("it needs the absolute path of a socket: write %s", form)
	}
	opts.Network, opts.Addr = "unix", u.Path
	return nil
}

// credentials are those of the URL or, if it has no password, the environment's.
// A user name that stands in the URL alone keeps its place: it is the password
// that may not be written down.
func credentials(user *url.Userinfo) (username, password string, err error) {
	username = user.Username()
	password, _ = user.Password()
	if password != "" {
		return username, password, nil
	}
	if username == "" {
		username = os.Getenv(UsernameVar)
	}
	password = os.Getenv(PasswordVar)
	if username != "" && password == "" {
		return "", "", fmt.Errorf("a user name without a password: write USER:PASSWORD@ or :PASSWORD@ before the host, or set %s", PasswordVar)
	}
	return username, password, nil
}

// tlsFiles is where the parts of a TLS configuration are.
type tlsFiles struct {
	ca, cert, key string
	serverName    string
}

func (f tlsFiles) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: f.serverName, MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("parameter \"ca\": %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("parameter \"ca\": %s has no PEM certificate", f.ca)
		}
	}
	if (f.cert == "") != (f.key == "") {
		return nil, errors.New("parameters \"cert\" and \"key\" belong together: one of them is missing")
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("parameters \"cert\" and \"key\": %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
