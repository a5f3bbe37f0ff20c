package testserver

import (
	_ "embed"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

//go:embed preload/clock.c
var clockSource []byte

// Clock is the wall clock of servers that are started with it. It goes with the
// machine's until it is told to jump.
type Clock struct {
	tb   TB
	path string // of the offset
	env  []string
}

// NewClock makes a clock for servers started in the test. It needs Linux and a C
// compiler.
func NewClock(tb TB) *Clock {
	tb.Helper()
	if runtime.GOOS != "linux" {
		tb.Skipf("a server's clock can be made to jump on Linux only")
	}
	cc := program(tb, "cc", "apt-get install gcc libc6-dev")
	dir := tb.TempDir()
	c := &Clock{tb: tb, path: filepath.Join(dir, "offset")}
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		tb.Fatalf("the clock's source: %v", err)
	}
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-O1", "-o", library, source).CombinedOutput(); err != nil {
		tb.Fatalf("the clock's library: %v\n%s", err, out)
	}
	c.Jump(0)
	c.env = []string{"LD_PRELOAD=" + library, "REDLOCK_SERVER_CLOCK=" + c.path}
	return c
}

// Jump puts the servers' clock ahead of the machine's by d, or behind if d is
// negative.
func (c *Clock) Jump(d time.Duration) {
	c.tb.Helper()
	var offset [8]byte
	binary.NativeEndian.PutUint64(offset[:], uint64(d.Microseconds()))
	// In place: the servers have the file mapped.
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = file.WriteAt(offset[:], 0)
		_ = file.Close()
	}
	if err != nil {
		c.tb.Fatalf("setting the servers' clock: %v", err)
	}
}

// StartMariaDB starts a mariadbd on this clock; see the function StartMariaDB.
func (c *Clock) StartMariaDB(tb TB, args ...string) *MariaDB {
	tb.Helper()
	return startMariaDB(tb, c.env, args)
}

// StartRedis starts a redis-server on this clock; see the function StartRedis.
func (c *Clock) StartRedis(tb TB, args ...string) *Redis {
	tb.Helper()
	return startRedis(tb, c.env, args)
}
