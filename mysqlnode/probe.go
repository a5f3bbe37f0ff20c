package mysqlnode

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/quorumlock/redlock"
)

// settingsText is what Probe asks the server: what holds for our sessions, and for
// all. The isolation has two names.
const settingsText = "SHOW VARIABLES WHERE Variable_name IN ('version','innodb_flush_log_at_trx_commit'," +
	"'log_bin','sync_binlog','binlog_format','transaction_isolation','tx_isolation'," +
	"'read_only','super_read_only','innodb_read_only','wsrep_on')"

// Probe implements redlock.Prober. It tries out the user's rights, without
// changing anything.
func (n *Node) Probe(ctx context.Context) (redlock.NodeInfo, error) {
	if n.invalid != nil {
		return redlock.NodeInfo{}, n.explain("probe", n.invalid)
	}
	ctx, cancel := n.bound(ctx)
	defer cancel()
	info, err := within(ctx, func() (redlock.NodeInfo, error) { return n.probe(ctx) })
	if err != nil {
		return redlock.NodeInfo{}, n.explain("probe", err)
	}
	return info, nil
}

func (n *Node) probe(ctx context.Context) (redlock.NodeInfo, error) {
	info := redlock.NodeInfo{Kind: "mysql " + n.mode.String(), Durable: n.durable}
	a, err := n.ask(ctx, n.probeText())
	if err != nil {
		return info, err
	}
	info.Incarnation, info.Age, info.Clock = a.incarnation, a.age, a.clock
	settings, err := n.settings(ctx)
	if err != nil {
		return info, err
	}
	info.Version = settings["version"]
	info.Warnings = append(n.warnings(settings), n.tableWarnings(ctx)...)
	return info, ctx.Err()
}

// probeText asks for the server's identity and time and touches no table.
func (n *Node) probeText() string {
	var q query
	n.noRow(&q)
	q.answer(answerParts{yes: "1"})
	return q.String()
}

func (n *Node) settings(ctx context.Context) (map[string]string, error) {
	rows, err := n.db.QueryContext(ctx, settingsText)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	settings := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		settings[name] = value
	}
	return settings, rows.Err()
}

// warnings judges the server's settings. What it does not have is no fault.
func (n *Node) warnings(settings map[string]string) []string {
	var found []string
	warn := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	if tooOld(settings["version"]) {
		warn("version %s is too old: it takes MySQL 5.7 or MariaDB 10.2", settings["version"])
	}
	for _, name := range []string{"read_only", "super_read_only", "innodb_read_only"} {
		if settings[name] == "ON" && !n.noTable {
			warn("%s is ON: the server refuses writes, as a replica does", name)
		}
	}
	isolation := orDefault(settings["transaction_isolation"], settings["tx_isolation"])
	if !n.noTable && settings["log_bin"] == "ON" && settings["binlog_format"] == "STATEMENT" && strings.HasPrefix(isolation, "READ-") {
		warn("binlog_format is STATEMENT and transaction_isolation %s: the server refuses all writes; %s", isolation, setBinlog)
	}
	if settings["wsrep_on"] == "ON" {
		warn("the server belongs to a Galera cluster, all of which is one node")
	}
	if n.mode == Session {
		if n.noTable {
			warn("without a table the node cannot keep tokens: it confirms only those that its clock has passed")
		}
		return found
	}
	flush, log, sync := settings["innodb_flush_log_at_trx_commit"], settings["log_bin"], settings["sync_binlog"]
	so := "the node waits after every restart"
	if n.durable {
		so = "although the node is declared Durable"
	}
	if flush != "1" && flush != "3" {
		warn("innodb_flush_log_at_trx_commit is %s: a crash loses the latest grants, %s; set 1", flush, so)
	}
	if log == "ON" && sync != "1" {
		warn("sync_binlog is %s: a crash loses the latest grants, %s; set 1, or leave out the binary log", sync, so)
	}
	return found
}

// tooOld goes by "5.6.51", "10.11.6-MariaDB" or "5.5.5-10.11.6-MariaDB".
func tooOld(version string) bool {
	major, minor := 5, 7
	if strings.Contains(version, "MariaDB") {
		version = strings.TrimPrefix(version, "5.5.5-")
		major, minor = 10, 2
	}
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	x, err1 := strconv.Atoi(parts[0])
	y, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (x < major || x == major && y < minor)
}

// tableWarnings tries each kind of statement on no row at all.
func (n *Node) tableWarnings(ctx context.Context) []string {
	if n.noTable {
		return nil
	}
	var found []string
	for _, table := range []string{n.tables.rows, n.tables.released} {
		for _, statement := range []string{
			"SELECT COUNT(*) FROM %s WHERE 1=0",
			"INSERT INTO %s (k,owner,expiry) SELECT x'',x'',0 FROM DUAL WHERE 1=0",
			"UPDATE %s SET expiry=0 WHERE 1=0",
			"DELETE FROM %s WHERE 1=0",
		} {
			_, err := n.db.ExecContext(ctx, fmt.Sprintf(statement, table))
			if !isReply(err) {
				continue
			}
			found = append(found, fmt.Sprintf("%s: %v", n.explanation(err), err))
			if isNumber(err, errNoSuchTable) {
				return found
			}
		}
		if engine := n.engine(ctx, table); engine != "" && engine != "InnoDB" {
			found = append(found, fmt.Sprintf("the table %s is %s, which has no transactions: it must be InnoDB", table, engine))
		}
	}
	return found
}

// engine tells a table's engine, if the user may know.
func (n *Node) engine(ctx context.Context, table string) string {
	schema, name := "DATABASE()", strings.Trim(table, "`")
	if s, t, ok := strings.Cut(name, "`.`"); ok {
		schema, name = binary(s), t
	}
	var engine sql.NullString
	_ = n.db.QueryRowContext(ctx, fmt.Sprintf("SELECT engine FROM information_schema.tables WHERE table_schema=%s AND table_name=%s",
		schema, binary(name))).Scan(&engine)
	return engine.String
}
