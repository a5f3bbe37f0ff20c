package testserver_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/quorumlock/redlock/internal/testserver"
)

// zooKeeperSays gives a server's answer to a four-letter word.
func zooKeeperSays(t *testing.T, z *testserver.ZooKeeper, word string, patience time.Duration) (string, error) {
	t.Helper()
	c, err := net.Dial("tcp", z.Addr())
	if err != nil {
		return "", err
	}
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, word)
	require.NoError(t, err)
	answer, err := io.ReadAll(c)
	return string(answer), err
}

func TestZooKeeper(t *testing.T) {
	t.Parallel()
	start := time.Now()
	z := testserver.StartZooKeeper(t, testserver.ZooKeeperOptions{
		Tick:       50 * time.Millisecond,
		MaxSession: time.Hour,
		Config:     []string{"4lw.commands.whitelist=conf,srvr"},
	})
	t.Logf("started in %v", time.Since(start))
	conf, err := zooKeeperSays(t, z, "conf", 20*time.Second)
	require.NoError(t, err)
	require.Contains(t, conf, "tickTime=50\n")
	require.Contains(t, conf, "maxSessionTimeout=3600000\n")

	z.Kill()
	_, err = zooKeeperSays(t, z, "srvr", 20*time.Second)
	require.Error(t, err)
	z.Start()
	z.Stop()
	_, err = zooKeeperSays(t, z, "srvr", 50*time.Millisecond)
	require.Error(t, err, "a frozen server answers nothing")
	z.Cont()
	answer, err := zooKeeperSays(t, z, "srvr", 20*time.Second)
	require.NoError(t, err)
	require.Contains(t, answer, "Mode: standalone")
	z.Restart()
	z.Kill()
	z.Wipe()
	z.Start()
	z.Stop()
	z.Close() // a frozen server can be ended too
	z.Close()
}
