package servers

import (
	"errors"
	"fmt"
	"os"
)

// errMissing says that a server's program is not installed.
var errMissing = errors.New("not installed")

// host stands in for the test that testserver's servers belong to. They end, and
// their directories go, when it is closed.
type host struct {
	cleanups []func()
}

// stopped is what ends a call of testserver's early, as a test's Fatalf would.
type stopped struct{ err error }

func (h *host) Helper()             {}
func (h *host) Logf(string, ...any) {}

func (h *host) Fatalf(format string, args ...any) {
	panic(stopped{fmt.Errorf(format, args...)})
}

func (h *host) Skipf(format string, args ...any) {
	panic(stopped{fmt.Errorf("%w: "+format, append([]any{errMissing}, args...)...)})
}

func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "redlock-peers-")
	if err != nil {
		h.Fatalf("no directory for a server: %v", err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (h *host) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
	h.cleanups = nil
}

// attempt gives the error that f ended with.
func attempt(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			err = r.err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}
