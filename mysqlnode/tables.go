package mysqlnode

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/quorumlock/redlock"
)

const (
	defaultTable = "redlock"

	// maxOwner is the length in bytes of the longest owner.
	maxOwner = 64
)

// validTable leaves room for the suffixes within the 64 characters of a name.
var validTable = regexp.MustCompile(`^([A-Za-z0-9_$]{1,64}\.)?[A-Za-z0-9_$]{1,40}$`)

// tables are the names of a node's tables, quoted for use in statements.
type tables struct {
	rows     string
	released string
}

func newTables(name string, mode Mode) tables {
	if mode == Session {
		// The two kinds of locks do not see each other: they share no row.
		name += "_session"
	}
	return tables{rows: quoteName(name), released: quoteName(name + "_released")}
}

func quoteName(name string) string {
	return "`" + strings.ReplaceAll(name, ".", "`.`") + "`"
}

// schema makes the tables. Times are microseconds since 1970 on the server's
// clock.
func (t tables) schema() []string {
	return []string{
		fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s ("+
			"k VARBINARY(%d) NOT NULL PRIMARY KEY,"+
			"owner VARBINARY(%d) NOT NULL,"+
			"fence BIGINT NOT NULL DEFAULT 0,"+
			"counter BIGINT NOT NULL DEFAULT 0,"+
			"expiry BIGINT NOT NULL DEFAULT 0,"+
			"conn BIGINT NOT NULL DEFAULT 0"+
			") ENGINE=InnoDB ROW_FORMAT=DYNAMIC", t.rows, redlock.MaxKeyLength, maxOwner),
		fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s ("+
			"k VARBINARY(%d) NOT NULL,"+
			"owner VARBINARY(%d) NOT NULL,"+
			"expiry BIGINT NOT NULL,"+
			"PRIMARY KEY (k,owner),"+
			"KEY (expiry)"+
			") ENGINE=InnoDB ROW_FORMAT=DYNAMIC", t.released, redlock.MaxKeyLength, maxOwner),
	}
}

// Init creates the node's tables where they are missing. That takes the right
// CREATE, which locking does not, and which Init does not need once they are there;
// they may as well be created by somebody else, with the statements that Schema
// gives. With NoTable there is nothing to do.
func (n *Node) Init(ctx context.Context) error {
	if n.invalid != nil {
		return n.explain("init", n.invalid)
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	_, err := within(ctx, func() (struct{}, error) {
		tables := []string{n.tables.rows, n.tables.released}
		for i, statement := range n.Schema() {
			if err := n.ensure(ctx, tables[i], statement); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return n.explain("init", err)
	}
	return nil
}

// ensure creates a table unless it can be read. IF NOT EXISTS alone would not do: the
// server wants the right CREATE for it even where there is nothing to create.
func (n *Node) ensure(ctx context.Context, table, create string) error {
	if _, err := n.db.ExecContext(ctx, "SELECT 1 FROM "+table+" LIMIT 0"); err == nil || !isReply(err) {
		return err
	}
	_, err := n.db.ExecContext(ctx, create)
	return err
}

// Schema gives the statements by which Init creates the tables, for those who
// create theirs themselves.
func (n *Node) Schema() []string {
	if n.invalid != nil || n.noTable {
		return nil
	}
	return n.tables.schema()
}
