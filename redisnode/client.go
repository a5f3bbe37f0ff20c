package redisnode

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout is short because a lock attempt is: a server that takes longer
	// to take a connection is not going to vote in time.
	dialTimeout = 500 * time.Millisecond

	// callTimeout ends calls whose context has no deadline, and calls that were
	// given up because their context was cancelled.
	callTimeout = 3 * time.Second

	// poolSize bounds connections, and so the requests a server has before it at
	// once. They are made when needed.
	poolSize = 64
)

// newClient makes a client that does each thing once and in time.
func newClient(opts Options) *redis.Client {
	return redis.NewClient(&redis.Options{
		Network:   network(opts),
		Addr:      opts.Addr,
		Username:  opts.Username,
		Password:  opts.Password,
		DB:        opts.DB,
		TLSConfig: opts.TLS,

		// A retry repeats a request whose outcome is unknown and hides from the
		// caller that time went by. The Locker decides on that.
		MaxRetries:            -1,
		DialerRetries:         1,
		ContextTimeoutEnabled: true,

		DialTimeout:      dialTimeout,
		ReadTimeout:      callTimeout,
		WriteTimeout:     callTimeout,
		PoolSize:         poolSize,
		PipelinePoolSize: -1, // no pipelines here

		// Nothing on a new connection but what it needs: it is made while a lock
		// attempt waits.
		Protocol:        2,
		DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	})
}

func network(opts Options) string {
	switch {
	case opts.Network != "":
		return opts.Network
	case strings.HasPrefix(opts.Addr, "/"):
		return "unix"
	}
	return "tcp"
}

// defaultName names the server without anything secret: an address that is a URL
// by mistake is cut behind its credentials.
func defaultName(client redis.UniversalClient, opts Options) string {
	switch c := client.(type) {
	case nil:
		addr := opts.Addr
		if network(opts) != "unix" {
			addr = addr[strings.LastIndex(addr, "@")+1:]
		}
		return fmt.Sprintf("%s/%d", addr, opts.DB)
	case *redis.Client:
		if c != nil {
			return fmt.Sprintf("%s/%d", c.Options().Addr, c.Options().DB)
		}
	case *redis.ClusterClient:
		if c != nil {
			return strings.Join(c.Options().Addrs, ",")
		}
	}
	return "redis"
}

func validate(client redis.UniversalClient, opts Options) error {
	if strings.Contains(opts.Prefix, "{") {
		return errors.New("the Prefix must not contain '{': it would decide on the keys' cluster slot")
	}
	if opts.TombstoneRetention < 0 {
		return fmt.Errorf("TombstoneRetention must not be negative, is %v", opts.TombstoneRetention)
	}
	if client == nil {
		return validateAddr(opts)
	}
	if opts.Addr != "" || opts.Network != "" || opts.Username != "" || opts.Password != "" || opts.DB != 0 || opts.TLS != nil {
		return errors.New("the fields Addr, Network, Username, Password, DB and TLS are for a client that New makes: they cannot change the one given")
	}
	return validateClient(client)
}

func validateAddr(opts Options) error {
	switch {
	case opts.Addr == "":
		return errors.New("neither a client nor Options.Addr was given")
	case opts.Network != "" && opts.Network != "tcp" && opts.Network != "unix":
		return fmt.Errorf("the Network must be tcp or unix, not %q", opts.Network)
	case network(opts) == "tcp" && strings.ContainsAny(opts.Addr, "@/"):
		// It may hold a password, so it is not shown.
		return errors.New("the Addr must be host:port or the path of a unix socket, not a URL")
	case opts.DB < 0:
		return fmt.Errorf("DB must not be negative, is %d", opts.DB)
	}
	return nil
}

// validateClient refuses a ring, whose servers fail one by one and whose keys
// move when they do: each grant would stand on another server's word.
func validateClient(client redis.UniversalClient) error {
	usable := true
	switch c := client.(type) {
	case *redis.Client:
		usable = c != nil
	case *redis.ClusterClient:
		usable = c != nil
	case *redis.Ring:
		return errors.New("a redis.Ring cannot be a node: give each of its servers a node of its own")
	}
	if !usable {
		return errors.New("the client is a nil pointer")
	}
	return nil
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
