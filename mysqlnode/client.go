package mysqlnode

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/quorumlock/redlock"
)

const (
	// dialTimeout is short because a lock attempt is: a server that takes longer
	// to take a connection is not going to vote in time.
	dialTimeout = 500 * time.Millisecond

	// poolSize bounds connections, and so the transactions that a server has before
	// it at once: with many more than it has cores it gets less done. They are made
	// when needed.
	poolSize = 16

	// idleSessions is how many connections a node of session locks keeps: those
	// that got a lock end with it.
	idleSessions = 16

	idleTime = 5 * time.Minute
)

// newConfig makes the driver's settings.
func newConfig(opts Options) (*mysql.Config, error) {
	config := mysql.NewConfig()
	if opts.DSN != "" {
		var err error
		if config, err = mysql.ParseDSN(opts.DSN); err != nil {
			// The driver's error may quote what should have been a password.
			return nil, errors.New("Options.DSN cannot be parsed: write USER:PASSWORD@tcp(HOST:PORT)/DATABASE")
		}
	} else {
		config.Net, config.Addr = network(opts), opts.Addr
		config.User, config.Passwd, config.DBName = opts.User, opts.Password, opts.Database
		config.TLS = opts.TLS
	}
	config.MultiStatements = true
	config.InterpolateParams = true
	config.RejectReadOnly = false
	config.Logger = &mysql.NopLogger{}
	config.Timeout = orDefault(config.Timeout, dialTimeout)
	config.ReadTimeout = orDefault(config.ReadTimeout, callTimeout)
	config.WriteTimeout = orDefault(config.WriteTimeout, callTimeout)
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	// The server goes on waiting for a row or a table after its client has given
	// up: a second at most, which is its shortest.
	for _, name := range []string{"innodb_lock_wait_timeout", "lock_wait_timeout"} {
		if config.Params[name] == "" {
			config.Params[name] = "1"
		}
	}
	return config, nil
}

func open(config *mysql.Config, mode Mode) (*sql.DB, error) {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetConnMaxIdleTime(idleTime)
	if mode == Session {
		db.SetMaxIdleConns(idleSessions)
		return db, nil
	}
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	return db, nil
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
func defaultName(config *mysql.Config, opts Options) string {
	if config != nil && opts.DSN != "" {
		return config.Addr + "/" + config.DBName
	}
	if opts.Addr == "" {
		return "mysql"
	}
	addr := opts.Addr
	if network(opts) != "unix" {
		addr = addr[strings.LastIndex(addr, "@")+1:]
	}
	return addr + "/" + opts.Database
}

func validate(db *sql.DB, opts Options) error {
	switch {
	case opts.Mode != Lease && opts.Mode != Session:
		return fmt.Errorf("Options.Mode must be Lease or Session, not %v", opts.Mode)
	case opts.Table != "" && !validTable.MatchString(opts.Table):
		return errors.New("Options.Table must be up to 40 letters, digits, '_' and '$', and may follow a database and a '.'")
	case opts.NoTable && opts.Mode != Session:
		return errors.New("Options.NoTable is for Mode Session: lease rows are rows of a table")
	case opts.Durable && opts.Mode == Session:
		return errors.New("Options.Durable is for Mode Lease: a restart of the server frees all session locks")
	case opts.FenceRetention != 0 && opts.FenceRetention <= redlock.HintHorizon:
		return fmt.Errorf("Options.FenceRetention must be longer than %v (redlock.HintHorizon), not %v", redlock.HintHorizon, opts.FenceRetention)
	case opts.TombstoneRetention < 0:
		return fmt.Errorf("Options.TombstoneRetention must not be negative, is %v", opts.TombstoneRetention)
	}
	ofAddr := opts.Addr != "" || opts.Network != "" || opts.User != "" || opts.Password != "" || opts.Database != "" || opts.TLS != nil
	switch {
	case db != nil && (ofAddr || opts.DSN != ""):
		return errors.New("Options.DSN, Addr, Network, User, Password, Database and TLS are for a database that New opens: they cannot change the one given")
	case db != nil:
		return nil
	case opts.DSN != "" && ofAddr:
		return errors.New("Options.DSN says it all: leave Addr, Network, User, Password, Database and TLS empty, or leave it empty")
	case opts.DSN != "":
		return nil
	}
	return validateAddr(opts)
}

func validateAddr(opts Options) error {
	switch {
	case opts.Addr == "":
		return errors.New("neither a database nor Options.DSN nor Options.Addr was given")
	case opts.Network != "" && opts.Network != "tcp" && opts.Network != "unix":
		return fmt.Errorf("Options.Network must be tcp or unix, not %q", opts.Network)
	case network(opts) == "tcp" && strings.ContainsAny(opts.Addr, "@/"):
		// It may hold a password, so it is not shown.
		return errors.New("Options.Addr must be host:port or the path of a unix socket, not a URL")
	}
	return nil
}
