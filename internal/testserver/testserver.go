package testserver

import (
	"net"
	"os"
	"os/exec"
	"strconv"
)

// TB is what the package needs of a test; *testing.T and *testing.B have it. It
// is an interface so that "testing", and its flags, are linked into no program.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// requireVar is the environment variable that turns skipping into failing.
const requireVar = "REDLOCK_TEST_REQUIRE"

// program finds a server's program, or ends the test.
func program(tb TB, name, install string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv(requireVar) == "1" {
		tb.Fatalf("%s is not installed, and %s=1 requires it; install it with: %s", name, requireVar, install)
	}
	tb.Skipf("%s is not installed; to run this test install it with: %s", name, install)
	return ""
}

// freePort gives a port that was free a moment ago. Another process may take it
// before the server does, so whoever uses it must be ready to try again.
func freePort(tb TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("no free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func localAddr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
