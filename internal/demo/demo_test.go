package demo

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock"
)

func TestMain(m *testing.M) {
	logging.Disable()
	goleak.VerifyTestMain(m)
}

// short is a demo of a quarter of the usual length.
func short() Config {
	return Config{Workers: 4, Duration: 2500 * time.Millisecond, ttl: 500 * time.Millisecond}
}

func statuses(s Summary) map[string]Status {
	m := make(map[string]Status)
	for _, c := range s.Checks {
		m[c.Name] = c.Status
	}
	return m
}

// A newcomer's first impression: all of it holds, also on a slow machine.
func TestEveryCheckHolds(t *testing.T) {
	t.Parallel()
	s, err := Run(t.Context(), short())
	require.NoError(t, err)
	assert.True(t, s.OK, "%+v", s.Checks)
	assert.Len(t, s.Checks, 8)
	for _, c := range s.Checks {
		assert.Equal(t, Held, c.Status, c.Name+": "+c.Detail)
	}
	assert.GreaterOrEqual(t, s.StaleRefused, 1)
	assert.GreaterOrEqual(t, s.StaleTaken, 1)
	assert.Len(t, s.Nodes, embeddedNodes)
}

// On real servers nothing is killed, and it says so.
func TestRealServers(t *testing.T) {
	t.Parallel()
	servers, err := startServers(3)
	require.NoError(t, err)
	defer stopServers(servers)
	cfg := short()
	cfg.Open = dialServers(servers)
	s, err := Run(t.Context(), cfg)
	require.NoError(t, err)
	assert.True(t, s.OK, "%+v", s.Checks)
	assert.Equal(t, Skipped, statuses(s)["node outage"])
}

// Interrupted, it says so, and leaves no lock behind.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	servers, err := startServers(3)
	require.NoError(t, err)
	defer stopServers(servers)
	pressed := errors.New("pressed a key")
	ctx, interrupt := context.WithCancelCause(t.Context())
	cfg := short()
	cfg.Open = dialServers(servers)
	cfg.View = viewFunc(func(s snapshot) {
		if s.acquisitions > 2 {
			interrupt(pressed)
		}
	})
	_, err = Run(ctx, cfg)
	require.ErrorIs(t, err, pressed)
	for _, s := range servers {
		for _, key := range s.redis.Keys() {
			assert.NotRegexp(t, `\}$`, key, "a lock key; only counters and tombstones may stay for a while")
		}
	}
}

// viewFunc looks at each state.
type viewFunc func(s snapshot)

func (f viewFunc) update(s snapshot) { f(s) }
func (f viewFunc) close(s snapshot)  { f(s) }

// Without a majority there is nothing to see, and no use in waiting.
func TestNoMajority(t *testing.T) {
	t.Parallel()
	servers, err := startServers(3)
	require.NoError(t, err)
	defer stopServers(servers)
	servers[0].kill()
	servers[2].kill()
	cfg := short()
	cfg.Open = dialServers(servers)
	_, err = Run(t.Context(), cfg)
	require.ErrorIs(t, err, redlock.ErrNoQuorum)
	assert.ErrorContains(t, err, "1 of 3 nodes")
	assert.ErrorContains(t, err, "node-1")
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []Config{{Duration: time.Second}, {Workers: 1}, {Workers: MaxWorkers + 1}, {Random: empty{}}} {
		_, err := Run(t.Context(), cfg)
		assert.Error(t, err, "%+v", cfg)
	}
	refused := errors.New("refused")
	_, err := Run(t.Context(), Config{Open: func(context.Context) ([]redlock.Node, func() error, error) {
		return nil, nil, refused
	}})
	assert.ErrorIs(t, err, refused)
}

// empty is a source of randomness that has none.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }

// A server that is killed does not answer; brought back, it has what it had, but
// for what expired meanwhile.
func TestKillAndRevive(t *testing.T) {
	servers, err := startServers(1)
	require.NoError(t, err)
	defer stopServers(servers)
	nodes, done, err := dialServers(servers)(t.Context())
	require.NoError(t, err)
	defer done()
	acquire := func(key string, ttl time.Duration) (redlock.Vote, error) {
		return nodes[0].Acquire(t.Context(), redlock.AcquireRequest{Key: key, Owner: "0123456789abcdef0123456789abcdef", TTL: ttl})
	}
	_, err = acquire("long", time.Minute)
	require.NoError(t, err)
	_, err = acquire("brief", time.Millisecond)
	require.NoError(t, err)

	servers[0].kill()
	_, err = acquire("long", time.Minute)
	require.Error(t, err)
	require.NoError(t, sleep(t.Context(), redlock.SystemClock(), 5*time.Millisecond))
	require.NoError(t, servers[0].revive(t.Context(), redlock.SystemClock()))

	long, err := nodes[0].Inspect(t.Context(), "long")
	require.NoError(t, err)
	assert.True(t, long.Held)
	brief, err := nodes[0].Inspect(t.Context(), "brief")
	require.NoError(t, err)
	assert.False(t, brief.Held)
}
