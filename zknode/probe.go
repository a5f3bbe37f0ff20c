package zknode

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// Probe implements redlock.Prober. It asks the server of the session for the
// four-letter words srvr and conf, which servers may refuse: what they do not
// tell is left empty. With a connection of your own it asks nothing but the
// ensemble, for it does not know the way.
func (n *Node) Probe(ctx context.Context) (redlock.NodeInfo, error) {
	return ask(ctx, n, "probe", "none", "none", n.probe)
}

func (n *Node) probe(c *call) (redlock.NodeInfo, error) {
	info := redlock.NodeInfo{Kind: "zookeeper", Durable: n.durable}
	s, err := n.prepare(c.ctx, false)
	if err != nil {
		return info, err
	}
	now := n.clock.Now()
	info.Incarnation, info.Age = s.incarnation, s.age(now)
	if clock, ok := n.horizon.at(now); ok {
		info.Clock = time.UnixMicro(clock.Microseconds()).UTC()
	}
	mode := ""
	if l, ok := n.source.(*link); ok {
		facts := l.word(c.ctx, "srvr", s.conn.Server())
		info.Version, _, _ = strings.Cut(facts["Zookeeper version"], ",")
		mode = facts["Mode"]
	}
	info.Warnings = n.warnings(mode)
	return info, nil
}

func (n *Node) warnings(mode string) []string {
	var found []string
	warn := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	timeout := n.source.timeout()
	if l, ok := n.source.(*link); ok && timeout != l.opts.SessionTimeout {
		warn("the server granted a session timeout of %v instead of %v: see minSessionTimeout and maxSessionTimeout", timeout, l.opts.SessionTimeout)
	}
	if most := timeout / 4 * 3; most < redlock.DefaultTTL {
		warn("a session timeout of %v promises TTLs up to %v, less than the default of %v: raise SessionTimeout", timeout, most, redlock.DefaultTTL)
	}
	switch mode {
	case "standalone":
		warn("the ensemble is a single server: while it is down, the node has no vote")
	case "read-only":
		warn("the server has lost its quorum and is read-only")
	}
	if n.durable {
		warn("declared Durable, but the servers do not tell whether forceSync is on; with forceSync=no a loss of power loses grants")
	}
	return found
}

// word asks a server for a four-letter word, whose answer is lines of facts. No
// answer is no facts.
func (l *link) word(ctx context.Context, word, server string) map[string]string {
	facts := map[string]string{}
	ctx, cancel := l.clock.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := l.secured(ctx, "tcp", server, time.Second)
	if err != nil {
		return facts
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, word); err != nil {
		return facts
	}
	text, _ := io.ReadAll(io.LimitReader(conn, 64<<10)) // the server closes when it likes
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			facts[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return facts
}
