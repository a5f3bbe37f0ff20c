package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/quorumlock/redlock"
)

func waitingFor(err error, votes ...redlock.NodeVote) redlock.Event {
	return redlock.Event{Kind: redlock.EventWaiting, Err: &redlock.QuorumError{Op: "lock", Key: "k", Need: 2, Votes: votes, Err: err}}
}

// A log is told of nodes that are waited for, once, and not of holders.
func TestWaitNotice(t *testing.T) {
	held := waitingFor(redlock.ErrNotAcquired, redlock.NodeVote{Node: "a", Outcome: redlock.Refused, Holder: alice})
	young := waitingFor(redlock.ErrNoQuorum, redlock.NodeVote{Node: "a", Outcome: redlock.Barred, Err: errors.New("votes in 5s")})
	down := waitingFor(redlock.ErrNoQuorum, redlock.NodeVote{Node: "a", Outcome: redlock.Unknown, Err: errors.New("refused")})
	told := func(toLog bool) string {
		var out bytes.Buffer
		n := newWaitNotice(&out, "k", toLog)
		n.due = true
		for _, e := range []redlock.Event{down, held, young, young, held, young} {
			n.Observe(t.Context(), e)
		}
		return out.String()
	}
	assert.Equal(t, "redlock: waiting for \"k\": node a votes in 5s\n", told(true))
	assert.Equal(t, 5, strings.Count(told(false), "waiting for"), "each time that it changes")
	assert.Contains(t, told(false), "held by "+alice)
}

// Who holds the key on more nodes than have answered yet is not said to hold it on
// fewer.
func TestHoldersCountWhatTheyKnow(t *testing.T) {
	held := redlock.NodeVote{Node: "a", Outcome: redlock.Refused, Holder: alice, Remaining: time.Second}
	assert.Equal(t, "held by "+alice+" on 2 of 2 nodes, 1.0s left unless renewed", holders([]redlock.NodeVote{held, held}))
	for _, outcome := range []redlock.Outcome{redlock.Pending, redlock.Unknown} {
		assert.Equal(t, "held by "+alice+" on at least 2 of 3 nodes, 1.0s left unless renewed",
			holders([]redlock.NodeVote{held, held, {Node: "c", Outcome: outcome}}))
	}
}

// A job of cron's that waits for nodes to come of age says so.
func TestRunTellsALogOfYoungServers(t *testing.T) {
	c := startCluster(t, 1)
	maxTTL := logNoticeAfter + 5*time.Second
	p := start(t, c.nodesWith(""), "run", "--ttl", "1s", "--node-timeout", "250ms", "--max-ttl", maxTTL.String(), "k", "--", "echo", "ran")
	assert.Equal(t, 0, p.status())
	assert.Equal(t, "ran\n", p.stdout.String())
	assert.Regexp(t, `^redlock: waiting for "k": node \S+ .*votes in .*\n$`, p.stderr.String())
}
