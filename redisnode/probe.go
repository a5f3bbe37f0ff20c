package redisnode

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
)

// Probe implements redlock.Prober. Of a cluster it looks at one server only. What
// a server does not tell is left empty: embedded servers have little to say, and
// the ACL of a locks' user need not allow CONFIG.
func (n *Node) Probe(ctx context.Context) (redlock.NodeInfo, error) {
	if n.invalid != nil {
		return redlock.NodeInfo{}, n.explain("probe", n.invalid)
	}
	info, err := within(ctx, n.clock, func() (redlock.NodeInfo, error) { return n.probe(ctx) })
	if err != nil {
		return redlock.NodeInfo{}, n.explain("probe", err)
	}
	return info, nil
}

func (n *Node) probe(ctx context.Context) (redlock.NodeInfo, error) {
	client, err := n.oneServer(ctx)
	if err != nil {
		return redlock.NodeInfo{}, err
	}
	info := redlock.NodeInfo{Kind: "redis", Durable: n.durable}
	if info.Clock, err = client.Time(ctx).Result(); err != nil {
		return redlock.NodeInfo{}, err
	}
	info.Clock = info.Clock.UTC()

	// A server's own refusal is an answer; anything else means there is none.
	dialled, sent := n.identity.dialledSoFar(), n.clock.Now()
	text, err := client.Info(ctx).Result()
	if err != nil {
		if !isReply(err) {
			return redlock.NodeInfo{}, err
		}
		info.Warnings = append(info.Warnings, fmt.Sprintf("INFO was refused, so most of this is unknown: %v", err))
	}
	facts := parseInfo(text)
	info.Version = facts["redis_version"]
	if s := (server{facts["run_id"], uptimeOf(facts)}); s.runID != "" {
		who := n.identity.learn(s, dialled, sent, n.clock.Now())
		info.Incarnation, info.Age = who.incarnation, who.age
	}
	if n.durable {
		info.Age = 0
	}
	if facts["aof_enabled"] == "1" {
		facts["appendfsync"] = client.ConfigGet(ctx, "appendfsync").Val()["appendfsync"]
	}
	info.Warnings = append(info.Warnings, n.warnings(facts)...)
	return info, nil
}

// oneServer gives a client for commands that have no key: in a cluster, for the
// master of any key, since such a command may go to a replica otherwise.
func (n *Node) oneServer(ctx context.Context) (redis.Cmdable, error) {
	if c, ok := n.client.(*redis.ClusterClient); ok {
		return c.MasterForKey(ctx, n.prefix)
	}
	return n.client, nil
}

// warnings judges what INFO and CONFIG told. What they did not tell is no fault.
func (n *Node) warnings(facts map[string]string) []string {
	var found []string
	warn := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	var major, minor int
	if _, err := fmt.Sscanf(facts["redis_version"], "%d.%d", &major, &minor); err == nil && (major < 6 || major == 6 && minor < 2) {
		warn("version %s is too old: scripts need Redis 6.2 or later", facts["redis_version"])
	}
	if policy := facts["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		warn("maxmemory-policy is %s: short of memory the server may drop a lock; set noeviction", policy)
	}
	switch {
	case facts["role"] == "slave":
		warn("the server is a replica: it refuses writes")
	case facts["connected_slaves"] != "" && facts["connected_slaves"] != "0":
		warn("the server has replicas: a failover to one loses the latest grants")
	}
	if facts["loading"] == "1" {
		warn("the server is still loading its data")
	}
	found = append(found, n.durabilityWarnings(facts)...)
	if _, ok := n.client.(*redis.ClusterClient); ok {
		warn("a cluster is one node, and only one of its servers was looked at")
	}
	return found
}

func (n *Node) durabilityWarnings(facts map[string]string) []string {
	aof, fsync := facts["aof_enabled"], facts["appendfsync"]
	switch {
	case n.durable && aof == "0":
		return []string{"declared Durable, but appendonly is off: a restart loses grants"}
	case n.durable && aof == "1" && fsync != "" && fsync != "always":
		return []string{fmt.Sprintf("declared Durable, but appendfsync is %s: a crash loses the latest grants; set always", fsync)}
	case n.durable && (aof == "" || fsync == ""):
		return []string{"declared Durable, but the server does not tell whether it is (INFO persistence, CONFIG GET appendfsync)"}
	case !n.durable && fsync == "always":
		return []string{"appendonly is on with appendfsync always: declare the node Durable to have its votes right after a restart, unless it may fail over"}
	}
	return nil
}

func uptimeOf(facts map[string]string) time.Duration {
	seconds, err := strconv.ParseInt(facts["uptime_in_seconds"], 10, 64)
	if err != nil {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

// parseInfo reads the name:value lines of INFO.
func parseInfo(text string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !strings.HasPrefix(name, "#") {
			facts[name] = value
		}
	}
	return facts
}

// isReply tells an error that the server sent from one of the way to it.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
