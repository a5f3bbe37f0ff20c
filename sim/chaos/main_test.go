package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock/internal/server"
	"github.com/quorumlock/redlock/sim/chaos"
)

// The test's own program is its clients and its store as well.
func TestMain(m *testing.M) {
	roles := map[string]func() error{
		"worker": func() error { return chaos.Worker(context.Background(), os.Stdin, os.Stdout) },
		"store":  func() error { return chaos.Store(context.Background(), os.Stdin, os.Stdout) },
	}
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		logging.Disable()
		if err := roles[os.Args[1]](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// cluster has its servers in the test's directory, and ends with the test.
func cluster(t *testing.T) (*chaos.Cluster, chaos.Self) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts servers and takes its time")
	}
	logging.Disable()
	c, err := chaos.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	program, err := os.Executable()
	require.NoError(t, err)
	return c, chaos.Self{Program: program}
}

// need ends the test after an error: a server that is not installed skips it,
// unless it must be there.
func need(t *testing.T, err error) {
	t.Helper()
	var missing *server.Missing
	if errors.As(err, &missing) && os.Getenv("REDLOCK_TEST_REQUIRE") != "1" {
		t.Skipf("%v", err)
	}
	require.NoError(t, err)
}
