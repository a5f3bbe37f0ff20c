package redisnode

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// old and young are two servers by their uptime.
var (
	old   = server{runID: "old", uptime: time.Hour}
	young = server{runID: "young", uptime: 2 * time.Second}
)

const second = time.Second

// A reply of the dead server that comes in late must not stand for the new one.
func TestLateAnswerOfTheOldServer(t *testing.T) {
	i := &identity{dials: &dials{}, life: new(life)}
	dial(i.dials, 1)
	require.True(t, i.mustAsk(1))
	i.learn(old, 1, 1*second, 2*second)
	require.False(t, i.mustAsk(1))

	dial(i.dials, 1)
	require.True(t, i.mustAsk(2), "after a dial")
	require.Equal(t, identified{"young", second}, i.learn(young, 2, 10*second, 10*second), "restarted")
	require.True(t, i.mustAsk(2), "a changed server is named twice")
	i.learn(young, 2, 11*second, 11*second)
	require.False(t, i.mustAsk(2))

	i.learn(old, 1, 9*second, 12*second)
	require.True(t, i.mustAsk(2), "which one is it?")
}

// A connection made during a call may be the one the call went over.
func TestDialDuringACall(t *testing.T) {
	i := &identity{dials: &dials{}, life: new(life)}
	dial(i.dials, 1)
	i.learn(old, 1, 0, 0)
	_, ok := i.recall(1, second, second)
	require.True(t, ok)
	dial(i.dials, 1)
	_, ok = i.recall(1, second, second)
	require.False(t, ok)
}

// Whoever ran already while its predecessor was heard has not restarted from the
// predecessor's data.
func TestPromotedReplica(t *testing.T) {
	i := &identity{life: new(life)}
	i.learn(young, 0, 100*second, 100*second)
	who := i.learn(old, 0, 110*second, 110*second)
	require.Equal(t, time.Duration(1), who.age)
	require.Equal(t, 50*second, i.learn(old, 0, 160*second, 160*second).age)
}

// Dials to several addresses lead to several servers, so a connection says
// nothing of the others.
func TestDialsToSeveralAddresses(t *testing.T) {
	i := &identity{dials: &dials{}, life: new(life)}
	dial(i.dials, 1)
	dial(i.dials, 2)
	i.learn(old, 2, 0, 0)
	i.learn(old, 2, 0, 0)
	require.True(t, i.mustAsk(2))
}

// The shards of a cluster take turns without anything having failed.
func TestShardsAreNotRestarts(t *testing.T) {
	i := &identity{shared: true, life: new(life)}
	i.learn(old, 0, 0, 0)
	i.learn(young, 0, 0, 0)
	require.Equal(t, identified{"old", time.Hour - uptimeSlack}, i.learn(old, 0, second, second))
}

// dial counts a connection to the given port.
func dial(d *dials, port int) { d.add(connTo{port: port}) }

type connTo struct {
	net.Conn
	port int
}

func (c connTo) RemoteAddr() net.Addr { return &net.TCPAddr{Port: c.port} }

// A server that was a replica for a while runs on as the same process, with its
// master's data.
func TestDemotedServer(t *testing.T) {
	i := &identity{dials: &dials{}, life: new(life)}
	dial(i.dials, 1)
	require.Equal(t, old.uptime-uptimeSlack, i.learn(old, 1, 0, 0).age)
	i.life.demote()
	i.doubt()
	require.True(t, i.mustAsk(1))
	require.Equal(t, time.Duration(1), i.learn(old, 1, 10*second, 10*second).age)
	require.False(t, i.mustAsk(1))
	require.Equal(t, 5*second, i.learn(old, 1, 15*second, 15*second).age)
}
