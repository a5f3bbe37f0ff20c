package nodeurl

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/mysqlnode"
)

// The environment variables that hold the credentials of MySQL servers whose URL
// has none.
const (
	MySQLUserVar     = "REDLOCK_MYSQL_USER"
	MySQLPasswordVar = "REDLOCK_MYSQL_PASSWORD"
)

const defaultMySQLPort = "3306"

// openMySQL opens mysql URLs.
func openMySQL(u *url.URL, form string) (redlock.Node, error) {
	opts := mysqlnode.Options{Database: strings.Trim(u.Path, "/")}
	if strings.Contains(opts.Database, "/") {
		return nil, fmt.Errorf("the path is the database, and has no '/': write %s", form)
	}
	var err error
	if opts.User, opts.Password, err = mysqlCredentials(u.User); err != nil {
		return nil, err
	}
	files := tlsFiles{serverName: u.Hostname()}
	secure, err := mysqlParams(u, &opts, &files)
	if err != nil {
		return nil, err
	}
	if err := mysqlAddress(u, &opts, form); err != nil {
		return nil, err
	}
	if err := mysqlRelations(opts, form); err != nil {
		return nil, err
	}
	if secure != "" {
		if opts.TLS, err = files.config(); err != nil {
			return nil, err
		}
		opts.TLS.InsecureSkipVerify = secure == "skip-verify"
	}
	return mysqlnode.New(nil, opts), nil
}

// mysqlParams fills in what the query says. It tells how TLS is to be used: not
// at all, "true", or "skip-verify". A file for it asks for it.
func mysqlParams(u *url.URL, opts *mysqlnode.Options, files *tlsFiles) (secure string, err error) {
	plain := false
	ofTLS := func(take func(string) error) func(string) error {
		return func(value string) error {
			secure = orElse(secure, "true")
			return take(value)
		}
	}
	allowed := params{
		"ca":         ofTLS(text(&files.ca)),
		"cert":       ofTLS(text(&files.cert)),
		"durable":    boolean(&opts.Durable),
		"key":        ofTLS(text(&files.key)),
		"mode":       mode(&opts.Mode),
		"name":       text(&opts.Name),
		"notable":    boolean(&opts.NoTable),
		"proxied":    boolean(&opts.Proxied),
		"servername": ofTLS(text(&files.serverName)),
		"socket":     text(&opts.Addr),
		"table":      text(&opts.Table),
		"tls": func(value string) error {
			switch value {
			case "true", "skip-verify":
				secure = value
			case "false":
				plain = true
			default:
				return fmt.Errorf("%q is none of true, false and skip-verify", value)
			}
			return nil
		},
	}
	if err := allowed.apply(u.RawQuery); err != nil {
		return "", err
	}
	if plain && secure != "" {
		return "", errors.New("parameter \"tls\" is false, but another one is for TLS")
	}
	return secure, nil
}

func mode(to *mysqlnode.Mode) func(string) error {
	return func(value string) error {
		for _, m := range []mysqlnode.Mode{mysqlnode.Lease, mysqlnode.Session} {
			if m.String() == value {
				*to = m
				return nil
			}
		}
		return fmt.Errorf("%q is neither lease nor session", value)
	}
}

// mysqlAddress takes HOST[:PORT], or a socket from the parameters.
func mysqlAddress(u *url.URL, opts *mysqlnode.Options, form string) error {
	if opts.Addr != "" {
		if u.Host != "" {
			return errors.New("it has a host and a socket: leave out one of them")
		}
		opts.Network = "unix"
		return nil
	}
	var err error
	opts.Network = "tcp"
	opts.Addr, err = oneServer(u.Host, defaultMySQLPort, form)
	return err
}

// mysqlRelations refuses what does not go together.
func mysqlRelations(opts mysqlnode.Options, form string) error {
	switch {
	case opts.Durable && opts.Mode == mysqlnode.Session:
		return errors.New("parameter \"durable\": a restart of the server frees all session locks")
	case opts.NoTable && opts.Mode != mysqlnode.Session:
		return errors.New("parameter \"notable\": it is for mode=session")
	case opts.Database == "" && !opts.NoTable && !strings.Contains(opts.Table, "."):
		return fmt.Errorf("it has no database: write %s", form)
	}
	return nil
}

// mysqlCredentials are those of the URL, each or else the environment's. A user may
// have no password.
func mysqlCredentials(user *url.Userinfo) (username, password string, err error) {
	username = orElse(user.Username(), os.Getenv(MySQLUserVar))
	password, _ = user.Password()
	password = orElse(password, os.Getenv(MySQLPasswordVar))
	if username == "" && password != "" {
		return "", "", fmt.Errorf("a password without a user name: write USER:PASSWORD@ before the host, or set %s", MySQLUserVar)
	}
	return username, password, nil
}
