package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// shell is an interactive shell on a terminal of its own, as a user has it.
type shell struct {
	t   *testing.T
	tty *os.File // the user's end
	out output
}

func startShell(t *testing.T) *shell {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	var number int
	raw, err := user.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		require.NoError(t, err)
	}))
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		user.Close()
		t.Skipf("no terminals here: %v", err)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "redlock")
	require.NoError(t, os.Symlink(exe, link))

	cmd := exec.Command("sh", "-i")
	cmd.Env = environment(t, nodesVar+"=mem://one", "PATH="+filepath.Dir(link)+":"+os.Getenv("PATH"), "PS1=$ ", "ENV=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, tty.Close())
	s := &shell{t: t, tty: user}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := user.Read(buf)
			_, _ = s.out.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
		user.Close()
		<-copied
	})
	return s
}

// types sends keys. The terminal echoes them, so what a command is to print must
// not be spelled out in them.
func (s *shell) types(keys string) {
	s.t.Helper()
	_, err := s.tty.WriteString(keys)
	require.NoError(s.t, err)
}

// shows waits for text that was not there before.
func (s *shell) shows(text string) {
	s.t.Helper()
	if !until(func() bool { return strings.Contains(s.out.String(), text) }) {
		s.t.Fatalf("no %q on the terminal:\n%s", text, &s.out)
	}
}

func TestTerminalIsTheCommandsAndThenTheShells(t *testing.T) {
	s := startShell(t)
	s.types(`redlock run k -- sh -c 'echo u""p; read x; echo "got-$x"'` + "\r")
	s.shows("up\r\n")
	s.types("this\r")
	s.shows("got-this")
	s.types(`read y; echo "then-$y"` + "\r" + "that\r")
	s.shows("then-that")
}

func TestCtrlCReachesTheCommand(t *testing.T) {
	s := startShell(t)
	s.types(`redlock run k -- sh -c 'trap "echo interrupt""ed; exit 5" INT; echo u""p; while :; do sleep 0.05; done'; echo status-$?` + "\r")
	s.shows("up\r\n")
	s.types("\x03")
	s.shows("interrupted")
	s.shows("status-5")
}

// The job stops as a whole, the shell gets the terminal, and both go on later.
func TestCtrlZStopsTheJob(t *testing.T) {
	s := startShell(t)
	s.types(`redlock run --ttl 1h k -- sh -c 'echo u""p; read x; echo "got-$x"'` + "\r")
	s.shows("up\r\n")
	s.types("\x1a")
	s.shows("Stopped")
	s.types(`read y; echo "then-$y"` + "\r" + "that\r")
	s.shows("then-that")
	s.types("fg\r")
	s.types("this\r")
	s.shows("got-this")
	s.types(`echo status""-$?` + "\r")
	s.shows("status-0")
}

// A job that was stopped for longer than its lease is valid has lost the lock,
// and must do nothing more.
func TestStoppedForTooLong(t *testing.T) {
	s := startShell(t)
	s.types(`redlock run --ttl 300ms k -- sh -c 'echo u""p; read x; echo "got-$x"'` + "\r")
	s.shows("up\r\n")
	s.types("\x1a")
	s.shows("Stopped")
	s.types("sleep 1; echo sle" + `""` + "pt\r")
	s.shows("slept")
	s.types("fg\r")
	s.shows("lease lost")
	s.types(`echo status""-$?` + "\r")
	s.shows("status-76")
}

// In a pipeline the terminal belongs to the reader, until the command asks.
func TestPipelineSharesTheTerminal(t *testing.T) {
	s := startShell(t)
	s.types(`redlock run k -- sh -c 'echo fi""rst; echo sec""ond' | sh -c 'read a; read x </dev/tty; echo "$a-$x"'` + "\r")
	s.types("key\r")
	s.shows("first-key")
	s.types(`redlock run k -- sh -c 'echo u""p >&2; read x </dev/tty; echo "asked-$x"' </dev/null | cat` + "\r")
	s.shows("up\r\n")
	s.types("again\r")
	s.shows("asked-again")
}

// The bar is drawn while the measuring goes on, and is gone when the report comes.
func TestBenchDrawsItsProgress(t *testing.T) {
	s := startShell(t)
	s.types("redlock bench --for 500ms\n")
	s.shows(" %  ")
	s.shows("locks  p50 ")
	s.shows("\r\x1b[K")
	s.shows("Nothing is left locked.")
}
