package server

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

//go:embed preload/clock.c
var clockSource []byte

// ErrNoClocks says why servers' clocks cannot be set here.
var ErrNoClocks = errors.New("a server's clock can be set on Linux only")

// Clock is the wall clock of the servers that are started with it. It goes with
// the machine's until it is told to jump, or to go at another rate. Monotonic
// clocks are left alone.
type Clock struct {
	file *os.File
	env  []string

	turn   int64 // which of the two slots holds
	offset time.Duration
	ppm    int64
	since  time.Time
}

// ClockLibrary builds in dir what is preloaded into servers, for NewClock. It needs
// Linux and a C compiler.
func ClockLibrary(dir string) (string, error) {
	if runtime.GOOS != "linux" {
		return "", ErrNoClocks
	}
	cc, err := program("cc", "apt-get install gcc libc6-dev")
	if err != nil {
		return "", err
	}
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-O1", "-o", library, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the servers' clock: %w\n%s", err, out)
	}
	return library, nil
}

// NewClock makes a clock, which is kept in a file of that name.
func NewClock(library, file string) (*Clock, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	c := &Clock{file: f, env: []string{"LD_PRELOAD=" + library, "REDLOCK_SERVER_CLOCK=" + file}}
	if err := c.Set(0); err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Set puts the clock ahead of the machine's by d, or behind if d is negative. Its
// rate stays.
func (c *Clock) Set(d time.Duration) error { return c.write(d, c.ppm, time.Now()) }

// Ahead is how far it is ahead of the machine's.
func (c *Clock) Ahead() time.Duration { return c.ahead(time.Now()) }

func (c *Clock) ahead(now time.Time) time.Duration {
	passed := now.Round(0).Sub(c.since)
	return c.offset + time.Duration(float64(passed)*float64(c.ppm)/1e6)
}

// Jump moves the clock by d from where it is.
func (c *Clock) Jump(d time.Duration) error {
	now := time.Now()
	return c.write(c.ahead(now)+d, c.ppm, now)
}

// SetRate makes the clock gain ppm microseconds a second from now on.
func (c *Clock) SetRate(ppm int64) error {
	now := time.Now()
	return c.write(c.ahead(now), ppm, now)
}

// Close lets go of the file; the servers keep theirs.
func (c *Clock) Close() error { return c.file.Close() }

// write fills the slot that does not hold, and then lets it hold, so that no
// server sees half of a change. It writes in place: servers have the file mapped.
func (c *Clock) write(offset time.Duration, ppm int64, since time.Time) error {
	c.offset, c.ppm, c.since = offset, ppm, since.Round(0)
	c.turn = 1 - c.turn
	var slot [24]byte
	for i, v := range []int64{offset.Microseconds(), ppm, since.UnixMicro()} {
		binary.NativeEndian.PutUint64(slot[8*i:], uint64(v))
	}
	var turn [8]byte
	binary.NativeEndian.PutUint64(turn[:], uint64(c.turn))
	if _, err := c.file.WriteAt(slot[:], 8+24*c.turn); err != nil {
		return fmt.Errorf("setting a server's clock: %w", err)
	}
	if err := c.file.Truncate(8 + 24*2); err != nil {
		return fmt.Errorf("setting a server's clock: %w", err)
	}
	if _, err := c.file.WriteAt(turn[:], 0); err != nil {
		return fmt.Errorf("setting a server's clock: %w", err)
	}
	return nil
}
