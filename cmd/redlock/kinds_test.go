package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/quorumlock/redlock/internal/testserver"
)

// The commands work on a quorum of all kinds of servers, and nodes says of a
// MySQL server that lacks its tables how to get them.
func TestEveryKindOfNode(t *testing.T) {
	maria := testserver.StartMariaDB(t)
	sessions := testserver.StartMariaDB(t)
	keeper := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{})
	urls := []string{
		"redis://" + testserver.StartRedis(t).Addr() + "?durable=true",
		"mysql://root@" + maria.Addr() + "/" + testserver.MariaDBDatabase,
		"mysql://root@" + sessions.Addr() + "/" + testserver.MariaDBDatabase + "?mode=session",
		"zk://" + keeper.Addr() + "/locks?durable=true&session=2s",
	}
	nodes := []string{"REDLOCK_NODES=" + strings.Join(urls, " ")}

	p := start(t, nodes, "nodes", "--ttl", "1s", "--max-ttl", "1s")
	assert.Equal(t, exitNoQuorum, p.status())
	assert.Contains(t, p.stdout.String(), "--init")

	p = start(t, nodes, "nodes", "--init", "--ttl", "1s", "--max-ttl", "1s")
	p.status() // the server of session locks may be too young to vote
	assert.NotContains(t, p.stdout.String(), "--init")
	for _, kind := range []string{"redis", "mysql lease", "mysql session", "zookeeper"} {
		assert.Contains(t, p.stdout.String(), kind)
	}

	p = start(t, nodes, "run", "--ttl", "1500ms", "--max-ttl", "2s", "--node-timeout", "700ms", "job", "--", "sh", "-c", "echo token $REDLOCK_TOKEN")
	assert.Equal(t, 0, p.status(), "stderr: %s", &p.stderr)
	assert.Contains(t, p.stdout.String(), "token 1")

	p = start(t, nodes, "inspect", "job", "--node-timeout", "4s") // connections are new
	assert.Equal(t, 0, p.status(), "stderr: %s", &p.stderr)
	assert.Contains(t, firstLine(p.stdout.String()), "free")
}
