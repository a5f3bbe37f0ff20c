package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	assert.Regexp(t, maria.Addr()+`\S+ +refuses`, p.stdout.String())

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

// A client that is killed frees every node by itself: Redis and lease rows after
// the TTL, session locks and ZooKeeper when its connection or session ends.
func TestKilledClientFreesEveryKind(t *testing.T) {
	urls := []string{
		"redis://" + testserver.StartRedis(t).Addr() + "?durable=true",
		"mysql://root@" + testserver.StartMariaDB(t).Addr() + "/" + testserver.MariaDBDatabase,
		"zk://" + testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{}).Addr() + "/locks?durable=true&session=2s",
	}
	nodes := []string{"REDLOCK_NODES=" + strings.Join(urls, " ")}
	p := start(t, nodes, "nodes", "--init")
	p.status()

	p = start(t, nodes, "run", "--ttl", "1500ms", "--max-ttl", "2s", "--node-timeout", "700ms", "job", "--", "sh", "-c", "echo held; exec sleep 600")
	p.prints("held")
	require.NoError(t, p.cmd.Process.Kill())
	require.Eventually(t, func() bool {
		look := start(t, nodes, "inspect", "job", "--node-timeout", "4s")
		return look.status() == 0 && strings.HasPrefix(look.stdout.String(), "free") && !strings.Contains(look.stdout.String(), "held")
	}, patience, 200*time.Millisecond)
}
