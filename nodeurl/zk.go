package nodeurl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/zknode"
)

// The environment variables that hold the credentials of ZooKeeper ensembles
// whose URL has none.
const (
	ZKUserVar     = "REDLOCK_ZK_USER"
	ZKPasswordVar = "REDLOCK_ZK_PASSWORD"
)

// openZK opens zk URLs.
func openZK(u *url.URL, form string) (redlock.Node, error) {
	opts := zknode.Options{}
	var err error
	if opts.Auth, err = zkAuth(u.User); err != nil {
		return nil, err
	}
	if opts.Servers, err = zkServers(u, form); err != nil {
		return nil, err
	}
	if opts.Root, err = zkRoot(u.Path); err != nil {
		return nil, err
	}
	if opts.TLS, err = zkParams(u, &opts); err != nil {
		return nil, err
	}
	return zknode.New(nil, opts), nil
}

// zkParams fills in what the query says, and gives the configuration of TLS if it
// asks for that. A file for TLS asks for it.
func zkParams(u *url.URL, opts *zknode.Options) (*tls.Config, error) {
	var files tlsFiles
	var secure, lax, plain bool
	ofTLS := func(take func(string) error) func(string) error {
		return func(value string) error {
			secure = true
			return take(value)
		}
	}
	allowed := params{
		"ca":         ofTLS(text(&files.ca)),
		"cert":       ofTLS(text(&files.cert)),
		"durable":    boolean(&opts.Durable),
		"key":        ofTLS(text(&files.key)),
		"name":       text(&opts.Name),
		"servername": ofTLS(text(&files.serverName)),
		"session":    duration(&opts.SessionTimeout),
		"tls": func(value string) error {
			switch value {
			case "true":
				secure = true
			case "skip-verify":
				secure, lax = true, true
			case "false":
				plain = true
			default:
				return fmt.Errorf("%q is neither true nor false nor skip-verify", value)
			}
			return nil
		},
	}
	if err := allowed.apply(u.RawQuery); err != nil {
		return nil, err
	}
	switch {
	case !secure:
		return nil, nil
	case plain:
		return nil, errors.New("parameter \"tls\": it is false, but other parameters are for TLS")
	}
	config, err := files.config()
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = lax
	return config, nil
}

// duration is a parameter such as 15s.
func duration(to *time.Duration) func(string) error {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < time.Millisecond {
			return fmt.Errorf("%q is not a time such as 20s", value)
		}
		*to = d
		return nil
	}
}

// zkAuth are the credentials of the URL or, if it has no password, the
// environment's. An ensemble that wants none gets none.
func zkAuth(user *url.Userinfo) ([]zknode.Auth, error) {
	name := user.Username()
	password, _ := user.Password()
	if password == "" {
		if name == "" {
			name = os.Getenv(ZKUserVar)
		}
		password = os.Getenv(ZKPasswordVar)
	}
	switch {
	case name == "" && password == "":
		return nil, nil
	case name == "":
		return nil, fmt.Errorf("a password without a user name: write USER:PASSWORD@ before the host, or set %s", ZKUserVar)
	case password == "":
		return nil, fmt.Errorf("a user name without a password: write USER:PASSWORD@ before the host, or set %s", ZKPasswordVar)
	case strings.Contains(name, ":"):
		return nil, errors.New("a user name with a ':': ZooKeeper takes what follows for the password")
	}
	return []zknode.Auth{{Scheme: "digest", Credentials: name + ":" + password}}, nil
}

// zkServers takes HOST[:PORT] and more of them, separated by commas.
func zkServers(u *url.URL, form string) ([]string, error) {
	servers := strings.Split(u.Host, ",")
	for _, server := range servers {
		if _, err := oneServer(server, "2181", form); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// zkRoot takes the path of a znode. None is the default.
func zkRoot(root string) (string, error) {
	root = strings.TrimSuffix(root, "/")
	switch {
	case root == "":
		return "", nil
	case path.Clean(root) != root:
		return "", errors.New("the path is that of a znode: its names must not be empty, \".\" or \"..\"")
	case root == "/zookeeper" || strings.HasPrefix(root, "/zookeeper/"):
		return "", errors.New("the path is under /zookeeper, which is ZooKeeper's own")
	}
	return root, nil
}

// parseHosts is url.Parse for URLs that may have several hosts, which url.Parse
// takes for one. It parses them one by one, and gives the whole list as the host.
func parseHosts(scheme, authority, tail string) (*url.URL, error) {
	hosts := authority[strings.LastIndex(authority, "@")+1:]
	user := authority[:len(authority)-len(hosts)]
	if !strings.EqualFold(scheme, "zk") {
		return url.Parse(scheme + "://" + authority + tail)
	}
	var whole *url.URL
	for host := range strings.SplitSeq(hosts, ",") {
		u, err := url.Parse(scheme + "://" + user + host + tail)
		if err != nil {
			return nil, err
		}
		whole = u
	}
	whole.Host = hosts
	return whole, nil
}
