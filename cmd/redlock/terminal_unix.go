//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal, which job control is about, whatever
// stdin is.
type terminal struct{ fd int }

// openTerminal gives nil if there is none.
func openTerminal() *terminal {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &terminal{fd}
}

func (t *terminal) close() {
	if t != nil {
		_ = unix.Close(t.fd)
	}
}

// group is the process group in the foreground, 0 if that is unknown.
func (t *terminal) group() int {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// set puts a group in the foreground. A caller that is not there itself would be
// stopped for it (SIGTTOU) if it did not ignore that. The command was started
// before, so it does not inherit this.
func (t *terminal) set(group int) bool {
	signal.Ignore(unix.SIGTTOU)
	return unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, group) == nil
}
