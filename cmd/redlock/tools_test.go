package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/nodeurl"
)

// here runs redlock within the test, so that it shares memory nodes with it.
func here(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var out, err bytes.Buffer
	status = run(args, strings.NewReader(""), &out, &err)
	return status, out.String(), err.String()
}

// statusOf is the exit status that an error ends the program with.
func statusOf(err error) int { return report(io.Discard, newRootCommand(), err) }

// memories counts the calls of memory: a node in memory lasts as long as the
// process, and -count runs a test several times in one.
var memories int

// memory names memory nodes of the test's own and opens them.
func memory(t *testing.T, names ...string) []redlock.Node {
	t.Helper()
	memories++
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = fmt.Sprintf("mem://%s-%d-%s", t.Name(), memories, name)
	}
	t.Setenv(nodesVar, strings.Join(urls, ", "))
	nodes, _, err := nodeurl.OpenAll(t.Context(), urls)
	require.NoError(t, err)
	return nodes
}

const (
	alice = "a11ce000000000000000000000000000"
	bob   = "b0b00000000000000000000000000000"
)

func grant(t *testing.T, node redlock.Node, owner string, ttl time.Duration) {
	t.Helper()
	vote, err := node.Acquire(t.Context(), redlock.AcquireRequest{Key: "k", Owner: owner, TTL: ttl, Hint: 41})
	require.NoError(t, err)
	require.True(t, vote.Granted)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func TestInspect(t *testing.T) {
	nodes := memory(t, "a", "b", "c")
	status, out, _ := here(t, "inspect", "k")
	assert.Equal(t, 0, status)
	assert.Equal(t, "free", firstLine(out))

	grant(t, nodes[0], alice, time.Hour)
	_, out, _ = here(t, "inspect", "k")
	assert.Equal(t, "no majority holds it", firstLine(out))

	grant(t, nodes[1], alice, 2*time.Hour)
	grant(t, nodes[2], bob, 2*time.Hour)
	status, out, _ = here(t, "inspect", "k")
	assert.Equal(t, 0, status)
	assert.Regexp(t, "^held by "+alice+` on 2 of 3 nodes, 3[0-9]{3}\.\ds left$`, firstLine(out),
		"two nodes are needed, so it is over with the first of them")
}

func TestInspectJSON(t *testing.T) {
	nodes := memory(t, "a", "b", "c")
	grant(t, nodes[0], alice, time.Hour)
	grant(t, nodes[1], alice, time.Hour)
	status, out, _ := here(t, "inspect", "--json", "k")
	assert.Equal(t, 0, status)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, "held", got["state"])
	assert.Equal(t, alice, got["owner"])
	assert.Equal(t, 2.0, got["held_by"])
	assert.Equal(t, 3.0, got["nodes"])
	assert.InDelta(t, 3.6e6, got["remaining_ms"], 1e6)
	states := got["node_states"].([]any)
	first := states[0].(map[string]any)
	assert.Equal(t, "held", first["state"])
	assert.Equal(t, 41.0, first["fence"])
	assert.Equal(t, 41.0, first["counter"])
	assert.Equal(t, "free", states[2].(map[string]any)["state"])
}

func TestWordsOfAnInspection(t *testing.T) {
	down := redlock.NodeState{Node: "x", Err: errors.New("x: inspect: connection refused")}
	free := redlock.NodeState{Node: "y"}
	other := redlock.NodeState{Node: "o", Owner: `something that is no lock: "hello"`, Remaining: time.Hour}
	held := redlock.NodeState{Node: "z", Held: true, Owner: alice, Remaining: 8200 * time.Millisecond}
	for _, c := range []struct {
		states []redlock.NodeState
		state  string
		words  string
	}{
		{[]redlock.NodeState{free, free, down}, "free", "free (2 of 3 nodes answered)"},
		{[]redlock.NodeState{free, down, down}, "unknown", "unknown: 1 of 3 nodes answered, and it takes 2"},
		{[]redlock.NodeState{held, down, down}, "unknown", "unknown: 1 of 3 nodes answered, and it takes 2"},
		{[]redlock.NodeState{held, free, down}, "split", "no majority holds it (2 of 3 nodes answered)"},
		{[]redlock.NodeState{held, held, down}, "held", "held by " + alice + " on 2 of 3 nodes, 8.2s left"},
		{[]redlock.NodeState{other, free, free}, "free", "free"},
		{[]redlock.NodeState{held, held, other}, "held", "held by " + alice + " on 2 of 3 nodes, 8.2s left"},
		{[]redlock.NodeState{other, other, free}, "blocked", "blocked: 2 of 3 nodes have something that is no lock in its place"},
		{[]redlock.NodeState{other, held, down}, "split", "no majority holds it (2 of 3 nodes answered)"},
		{[]redlock.NodeState{other, down, down}, "unknown", "unknown: 1 of 3 nodes answered, and it takes 2"},
		{[]redlock.NodeState{held, free}, "split", "no majority holds it"},
		{[]redlock.NodeState{held}, "held", "held by " + alice + " on 1 of 1 nodes, 8.2s left"},
	} {
		v := newKeyView("k", c.states)
		assert.Equal(t, c.state, v.State)
		assert.Equal(t, c.words, v.sentence())
	}
	assert.Equal(t, "inspect: connection refused", newKeyView("k", []redlock.NodeState{down}).PerNode[0].Error,
		"the node's name stands before it already")
}

func TestInspectWithoutAQuorum(t *testing.T) {
	t.Setenv(nodesVar, "mem://"+t.Name()+" redis://127.0.0.1:1 redis://127.0.0.1:2")
	status, out, stderr := here(t, "inspect", "k")
	assert.Equal(t, exitNoQuorum, status)
	assert.Contains(t, firstLine(out), "unknown: 1 of 3")
	assert.Contains(t, out, "refused")
	assert.Empty(t, stderr)
}

func TestUnlock(t *testing.T) {
	nodes := memory(t, "a", "b", "c")
	for _, n := range nodes {
		grant(t, n, alice, time.Hour)
	}
	status, out, stderr := here(t, "unlock", "k")
	assert.Equal(t, exitUsage, status)
	assert.Empty(t, out)
	assert.Contains(t, stderr, "--force")
	state, err := nodes[0].Inspect(t.Context(), "k")
	require.NoError(t, err)
	assert.True(t, state.Held)

	status, out, _ = here(t, "unlock", "--force", "k")
	assert.Equal(t, 0, status)
	assert.Equal(t, "released \"k\"\n", out)
	status, out, stderr = here(t, "unlock", "--force", "k")
	assert.Equal(t, exitNotHeld, status)
	assert.Equal(t, "nobody held \"k\"\n", out)
	assert.Empty(t, stderr)
	status, out, _ = here(t, "unlock", "--force", "--json", "k")
	assert.Equal(t, exitNotHeld, status)
	assert.JSONEq(t, `{"key": "k", "released": false}`, out)
}

// Data of somebody's keep everybody from the lock, and nobody would know why.
func TestOtherDataInTheLocksPlace(t *testing.T) {
	c := startCluster(t, 1)
	db := redis.NewClient(&redis.Options{Addr: c[0].Addr()})
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, db.Set(t.Context(), "redlock:{k}", "hello", 0).Err())
	name := c[0].Addr() + "/0"
	t.Setenv(nodesVar, "redis://"+c[0].Addr()+"?durable=true")

	status, out, _ := here(t, "inspect", "k")
	assert.Equal(t, 0, status)
	assert.Contains(t, firstLine(out), "blocked: 1 of 1 nodes")
	assert.Regexp(t, name+` +other data +.*something that is no lock: "hello"`, out)
	status, out, _ = here(t, "unlock", "--force", "k")
	assert.Equal(t, exitNotHeld, status)
	assert.Equal(t, `nobody held "k": `+name+` has something that is no lock: "hello"; delete that with the servers' own tools`+"\n", out)
	status, out, _ = here(t, "unlock", "--force", "--json", "k")
	assert.Equal(t, exitNotHeld, status)
	assert.Contains(t, out, `"error": "`+name+` has something that is no lock`)
	status, _, stderr := here(t, "run", "--try", "k", "--", "true")
	assert.NotZero(t, status)
	assert.Contains(t, stderr, `something that is no lock: "hello"`)
	assert.Equal(t, "hello", db.Get(t.Context(), "redlock:{k}").Val())
}

func TestUnlockWithoutAQuorum(t *testing.T) {
	t.Setenv(nodesVar, "redis://127.0.0.1:1")
	status, _, stderr := here(t, "unlock", "--force", "k")
	assert.Equal(t, exitNoQuorum, status)
	assert.Contains(t, stderr, `no quorum for "k", it takes 1 of 1 nodes: node 127.0.0.1:1/0 failed: `)

	status, out, stderr := here(t, "unlock", "--force", "--json", "k")
	assert.Equal(t, exitNoQuorum, status)
	assert.Empty(t, stderr)
	var got unlockView
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.False(t, got.Released)
	assert.Contains(t, got.Error, "no quorum for")
}

func TestNodes(t *testing.T) {
	c := startCluster(t, 3)
	p := start(t, c.nodes(), "nodes")
	assert.Equal(t, 0, p.status(), "stderr: %s", &p.stderr)
	out := p.stdout.String()
	assert.Contains(t, firstLine(out), "3 of 3 nodes vote")
	assert.Contains(t, out, "redis ")
	assert.Contains(t, out, "declared")

	c[0].Kill()
	c[1].Stop()
	p = start(t, c.nodes(), "nodes")
	assert.Equal(t, exitNoQuorum, p.status())
	assert.Contains(t, firstLine(p.stdout.String()), "1 of 3 nodes vote")
	assert.Equal(t, 2, strings.Count(p.stdout.String(), "unreachable"))
}

func TestNodesExplainsYoungOnes(t *testing.T) {
	c := startCluster(t, 2)
	nodes := c.nodesWith("")
	nodes[0] += " redis://" + c[0].Addr() + "?durable=true&name=alias"
	p := start(t, nodes, "nodes", "--max-ttl", "1h")
	assert.Equal(t, exitNoQuorum, p.status())
	assert.Contains(t, p.stdout.String(), "young, votes in 3")
	assert.Contains(t, p.stdout.String(), "?durable=true")
	assert.Contains(t, p.stdout.String(), "is the same server as node "+c[0].Addr())
}

func TestNodesJSON(t *testing.T) {
	c := startCluster(t, 1)
	p := start(t, c.nodes(), "nodes", "--json")
	assert.Equal(t, 0, p.status())
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &got))
	assert.Equal(t, 1.0, got["voting"])
	node := got["node_infos"].([]any)[0].(map[string]any)
	assert.Equal(t, c[0].Addr()+"/0", node["node"])
	for field, want := range map[string]any{"reachable": true, "voting": true, "kind": "redis", "durable": true} {
		assert.Equal(t, want, node[field], field)
	}
	for _, field := range []string{"latency_ms", "clock_offset_ms", "clock_offset_error_ms", "version"} {
		assert.Contains(t, node, field)
	}
}

// A node that tells nothing of itself still shows whether it votes.
func TestNodesInMemory(t *testing.T) {
	memory(t, "a", "b", "c")
	status, out, _ := here(t, "nodes")
	assert.Equal(t, 0, status)
	assert.Contains(t, firstLine(out), "3 of 3 nodes vote")
}

// A server that answers is not called unreachable for wanting other credentials or
// rights.
func TestNodesThatRefuse(t *testing.T) {
	c := startCluster(t, 1, "--requirepass", "secret")
	admin := redis.NewClient(&redis.Options{Addr: c[0].Addr(), Password: "secret"})
	defer admin.Close()
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "poor", "on", ">p", "~*", "+hello", "+auth", "+info").Err())
	for _, user := range []string{":wrong", "poor:p"} {
		nodes := []string{nodesVar + "=redis://" + user + "@" + c[0].Addr() + " redis://127.0.0.1:1"}
		p := start(t, nodes, "nodes")
		assert.Equal(t, exitNoQuorum, p.status())
		assert.Regexp(t, c[0].Addr()+`/0 +refuses`, p.stdout.String())
		assert.Regexp(t, `127.0.0.1:1/0 +unreachable`, p.stdout.String())
		p = start(t, nodes, "nodes", "--json")
		p.status()
		assert.Regexp(t, `"reachable": true,\s+"refuses": true`, p.stdout.String())
		p = start(t, nodes, "inspect", "k")
		assert.Equal(t, exitNoQuorum, p.status())
		assert.Regexp(t, c[0].Addr()+`/0 +refuses`, p.stdout.String())
		assert.Regexp(t, `127.0.0.1:1/0 +no answer`, p.stdout.String())
	}
}

// The commands that see a password, and the server refusing one, show none.
func TestPasswordsAreNotShown(t *testing.T) {
	const password = "s3cr:t/@%"
	c := startCluster(t, 1, "--requirepass", password)
	right := "redis://:" + url.QueryEscape(password) + "@" + c[0].Addr() + "?durable=true"
	wrong := "redis://:not-s3cr@" + c[0].Addr() + "?durable=true"
	for _, node := range []string{right, wrong, "redis://:s3cr:t/@%@" + c[0].Addr(), "redis://:s3cr:t%@" + c[0].Addr()} {
		for _, args := range [][]string{
			{"nodes"}, {"nodes", "--json"}, {"inspect", "k"}, {"inspect", "--json", "k"}, {"unlock", "--force", "k"},
			{"run", "-v", "k", "--", "true"}, {"run", "--try", "k", "--", "true"},
		} {
			p := start(t, nil, append(args, "--node", node)...)
			if args[0] == "run" {
				p = start(t, []string{nodesVar + "=" + node}, args...)
			}
			status := p.status()
			if node == right {
				assert.Contains(t, []int{0, exitNotHeld}, status, "%v: %s", args, &p.stderr)
			} else {
				assert.Contains(t, []int{exitUsage, exitNoQuorum}, status, "%v", args)
			}
			assert.NotContains(t, p.stdout.String()+p.stderr.String(), "s3cr", "%v", args)
		}
	}
	p := start(t, append(c.nodes(), nodeurl.PasswordVar+"="+password), "run", "-v", "k", "--", "true")
	assert.Equal(t, 0, p.status(), "the password may come from the environment")
	assert.NotContains(t, p.stderr.String(), "s3cr")
}

func TestUsageErrors(t *testing.T) {
	node := []string{"--node", "mem://" + t.Name()}
	long := strings.Repeat("k", redlock.MaxKeyLength+1)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"rnu"}, `there is no command "rnu"; did you mean "run"?`},
		{[]string{"help", "nosuch"}, `there is no command "nosuch"`},
		{[]string{"help", "rnu"}, `did you mean "run"?`},
		{[]string{"help", "sim", "nosuch"}, `there is no command "nosuch"`},
		{[]string{"help", "run", "nosuch"}, `there is no command "nosuch"`},
		{[]string{"completion", "bogus"}, `there is no command "bogus"`},
		{[]string{"completion", "bash", "x"}, "no arguments"},
		{[]string{"--color"}, "unknown flag: --color"},
		{[]string{"version", "x"}, "no arguments"},
		{[]string{"nodes", "x"}, "no arguments"},
		{[]string{"inspect"}, "no KEY given"},
		{[]string{"inspect", "a", "b"}, "one KEY"},
		{[]string{"inspect", ""}, "the KEY is empty"},
		{[]string{"inspect", long}, "513 bytes: use at most 512"},
		{[]string{"unlock"}, "no KEY given"},
		{[]string{"run"}, "no KEY given"},
		{[]string{"run", "--", "true"}, "no KEY given"},
		{[]string{"run", "k"}, "write -- between KEY and COMMAND"},
		{[]string{"run", "k", "true"}, "write -- between KEY and COMMAND"},
		{[]string{"run", "k", "ls", "-l"}, "COMMAND and its own flags come after KEY --"},
		{[]string{"run", "k", "--"}, "no COMMAND given"},
		{[]string{"run", "a", "b", "--", "true"}, "one KEY before the --"},
		{[]string{"run", "", "--", "true"}, "the KEY is empty"},
		{[]string{"run", "--try", "--wait", "1s", "k", "--", "true"}, "exclude each other"},
		{[]string{"run", "--wait", "0s", "k", "--", "true"}, "--wait is 0s"},
		{[]string{"run", "--wait", "soon", "k", "--", "true"}, "invalid"},
		{[]string{"run", "--grace", "-1s", "k", "--", "true"}, "--grace is -1s"},
		{[]string{"run", "--max-hold", "0s", "k", "--", "true"}, "--max-hold is 0s"},
		{[]string{"run", "--max-hold", "10ms", "k", "--", "true"}, "--max-hold 10ms"},
		{[]string{"run", "--try", "--ttl", "10s", "--max-hold", "400ms", "k", "--", "true"}, "--max-hold 400ms"},
		{[]string{"inspect", "-v", "k"}, "unknown shorthand flag"},
		{[]string{"unlock", "-v", "k"}, "unknown shorthand flag"},
		{[]string{"nodes", "-v"}, "unknown shorthand flag"},
		{[]string{"inspect", "--ttl", "0s", "k"}, "--ttl is 0s"},
		{[]string{"inspect", "--ttl", "1h", "--max-ttl", "1m", "k"}, "--ttl 1h0m0s is above --max-ttl 1m0s"},
		{[]string{"inspect", "--node-timeout", "1h", "k"}, "--node-timeout 1h0m0s"},
		{[]string{"inspect", "--node", "mem://" + t.Name(), "k"}, "would vote twice"},
		{[]string{"inspect", "--node", "http://h", "k"}, "unknown scheme"},
		{[]string{"inspect", "--config", "/no/such/file", "k"}, "/no/such/file"},
	} {
		args := c.args
		if len(args) > 1 && !slices.Contains([]string{"version", "help", "completion"}, args[0]) {
			args = append(append([]string{args[0]}, node...), args[1:]...)
		}
		status, out, stderr := here(t, args...)
		assert.Equal(t, exitUsage, status, "%v", c.args)
		assert.Empty(t, out, "%v", c.args)
		assert.Contains(t, stderr, c.want, "%v", c.args)
	}
	status, _, stderr := here(t, "inspect", "k")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, stderr, "no nodes: give --node URL")
	assert.Contains(t, stderr, "redlock inspect --help")
}

// What makes no sense is a mistake of the user's, not a fault, and starts nothing.
func TestUsageErrorsOfTheLaboratory(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"sim list x", "no arguments"},
		{"sim advise x", "no arguments"},
		{"sim mutants x", "no arguments"},
		{"sim swarm x", "no arguments"},
		{"sim explore x", "no arguments"},
		{"sim explore --clients -1", "1 to 3"},
		{"sim explore --max-states -1", "--max-states"},
		{"sim swarm --for -1s", "--for is -1s"},
		{"sim swarm --seeds -1", "--seeds is -1"},
		{"sim swarm --jobs 0", "--jobs is 0"},
		{"sim advise --loss 1.5", "--loss is 1.5"},
		{"sim advise --loss -0.1", "--loss is -0.1"},
		{"sim advise --loss NaN", "--loss is NaN"},
		{"sim advise --latency -1ms", "latency is -1ms"},
		{"sim advise --jitter -1ms", "jitter is -1ms"},
		{"sim advise --pause 2s", "belong together"},
		{"sim advise --pause-every 2s", "belong together"},
		{"sim advise --outage 2s", "belong together"},
		{"sim advise --nodes 0", "--nodes is 0"},
		{"sim advise --clients 0", "--clients is 0"},
		{"sim advise --ttl 0", "--ttl is 0s"},
		{"sim advise --holds 0", "--holds is 0s"},
		{"chaos list x", "no arguments"},
		{"chaos soak x", "no arguments"},
		{"chaos soak --quorum bogus", "use redis, mysql"},
		{"chaos soak --for 0", "--for is 0s"},
		{"chaos soak --for -1s", "--for is -1s"},
		{"chaos soak --nodes 0", "--nodes is 0"},
		{"chaos soak --nodes -1", "--nodes is -1"},
		{"chaos soak --nodes 100000", "use 1 to"},
		{"chaos soak --clients -1", "--clients is -1"},
		{"chaos soak --keys -1", "--keys is -1"},
		{"chaos soak --ttl -1s", "--ttl is -1s"},
		{"chaos soak --ttl 1ms", "TTL is 1ms: use at least"},
		{"chaos run", "name one story"},
		{"chaos run --all kleppmann-crash-restart", "name one story"},
		{"chaos run a b", "name one story"},
		{"chaos run no-such-story", "no story"},
	} {
		status, out, stderr := here(t, strings.Fields(c.line)...)
		assert.Equal(t, exitUsage, status, c.line)
		assert.Empty(t, out, c.line)
		assert.Contains(t, stderr, c.want, c.line)
	}
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"run", "inspect", "unlock", "nodes"} {
		status, out, _ := here(t, command, "--help")
		assert.Equal(t, 0, status)
		assert.Contains(t, out, "Exit status:", command)
		assert.Contains(t, out, "Examples:", command)
	}
	_, help, _ := here(t, "help")
	for _, words := range []string{
		"rediss://", "unix://", "mysql://", "?mode=session", "zk://", "mem://",
		nodeurl.UsernameVar, nodeurl.PasswordVar, nodeurl.MySQLUserVar, nodeurl.MySQLPasswordVar, nodeurl.ZKUserVar, nodeurl.ZKPasswordVar,
	} {
		assert.Contains(t, help, words)
	}
	_, out, _ := here(t, "sim", "swarm", "--help")
	_, same, _ := here(t, "help", "sim", "swarm")
	assert.Equal(t, out, same)
	for _, arg := range []string{"version", "--version"} {
		status, out, _ := here(t, arg)
		assert.Equal(t, 0, status)
		assert.Regexp(t, "^redlock .*go1.*\n$", out)
	}
	status, out, _ := here(t, "completion", "bash")
	assert.Equal(t, 0, status)
	assert.Contains(t, out, "bash completion")
}

// Shells complete what has to be looked up otherwise.
func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"sim run kleppmann-gc":      "kleppmann-gc-after-win\t",
		"chaos run kleppmann-crash": "kleppmann-crash-restart\t",
		"chaos run --quorum se":     "session\n",
		"chaos soak --quorum mi":    "mixed\n",
		"help sim sw":               "swarm\t",
	} {
		status, out, _ := here(t, append([]string{"__complete"}, strings.Fields(line)...)...)
		assert.Equal(t, 0, status, line)
		assert.Contains(t, out, want, line)
	}
	_, out, _ := here(t, "__complete", "sim", "run", "baseline", "")
	assert.True(t, strings.HasPrefix(out, ":"), "there is one name: %s", out)
}

// Nobody takes a full disk for an answer.
func TestFailedWritesAreErrors(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	memory(t, "a")
	for _, line := range []string{"inspect k", "inspect k --json", "nodes", "nodes --json", "version", "--version", "help", "sim list", "chaos list",
		"sim run baseline", "sim swarm --seeds 2", "sim replay --seed 1", "sim advise"} {
		var errs strings.Builder
		status := run(strings.Fields(line), strings.NewReader(""), full, &errs)
		assert.Equal(t, exitInternal, status, line)
		assert.Contains(t, errs.String(), "/dev/full", line)
	}
	status, _, _ := here(t, "inspect", "k", "-n", "redis://127.0.0.1:1")
	assert.Equal(t, exitNoQuorum, status)
}
