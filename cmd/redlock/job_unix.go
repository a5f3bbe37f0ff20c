//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorumlock/redlock"
)

// job is the command as a process group of its own, so that all of it can be
// signalled, with the job control that takes on a terminal: redlock stands
// between the user's shell and the group, and is to the one what the other does.
//
// Stopped together with the command, redlock renews nothing. It lets the command
// go on only if the lease is still good then.
type job struct {
	signals *signals
	changes chan unix.WaitStatus
	resumed chan struct{} // time to resume, if not by SIGCONT

	cmd     *exec.Cmd
	group   int
	mayRun  func() bool
	tty     *terminal // nil without one
	given   bool      // the group has the terminal
	asked   bool      // redlock passed a SIGTSTP on
	stopped bool      // the group is stopped, and so is redlock
	regive  bool      // the group had the terminal when it stopped
}

// startJob starts the command in a group of its own.
//
// A group that is on the terminal from the start spares the command a stop at
// its first read. But in a pipeline the terminal may be another process's to
// read, such as a pager's, so there it is given only when the command asks.
func startJob(cmd *exec.Cmd, s *signals, mayRun func() bool) (*job, error) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	s.add(whileRunning)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	j := &job{
		signals: s,
		changes: make(chan unix.WaitStatus, 1),
		resumed: make(chan struct{}, 1),
		cmd:     cmd,
		group:   cmd.Process.Pid,
		mayRun:  mayRun,
		tty:     openTerminal(),
	}
	if isTerminal(cmd.Stdin) && isTerminal(cmd.Stdout) {
		j.giveTerminal()
	}
	go j.watch()
	return j, nil
}

// watch tells of each stop of the command and of its end. It is the only one to
// wait for it: os/exec does not tell of stops.
func (j *job) watch() {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(j.group, &status, unix.WUNTRACED, nil)
		if err == unix.EINTR { //nolint:errorlint // an errno
			continue
		}
		if err != nil { // somebody else has waited for it
			status = unix.WaitStatus(exitInternal << 8)
		}
		j.changes <- status
		if err != nil || status.Exited() || status.Signaled() {
			return
		}
	}
}

// handle takes a change of the command's state. Once it has ended it gives its
// exit status.
func (j *job) handle(status unix.WaitStatus) (exit int, ended bool) {
	switch {
	case status.Exited():
		return status.ExitStatus(), true
	case status.Signaled():
		return exitSignal + int(status.Signal()), true
	case status.Stopped():
		j.stoppedBy(status.StopSignal())
	}
	return 0, false
}

// stoppedBy deals with a stop of the command. One that did not come of the
// terminal is not redlock's business: the lock is held meanwhile.
func (j *job) stoppedBy(sig unix.Signal) {
	if j.tty == nil {
		return
	}
	switch sig {
	case unix.SIGTTIN, unix.SIGTTOU:
		if j.giveTerminal() {
			j.send(unix.SIGCONT)
			return
		}
		j.suspend()
	case unix.SIGTSTP:
		if j.given || j.asked {
			j.suspend()
		}
	}
}

// orphanPause is how long a stop may take to come into force. Nothing stops a
// group that no shell would continue: it just goes on.
const orphanPause = 100 * time.Millisecond

// stopSelf stops a process unless no shell could continue it. SIGTSTP would do,
// but the Go runtime cannot let go of a signal that it has once caught.
const stopSelf = unix.SIGTTIN

// suspend stops redlock after the command, together with what else the shell
// has in redlock's group.
func (j *job) suspend() {
	j.stopped, j.asked, j.regive = true, false, j.given
	j.takeTerminal()
	_ = unix.Kill(0, stopSelf)
	redlock.SystemClock().AfterFunc(orphanPause, func() {
		select {
		case j.resumed <- struct{}{}:
		default:
		}
	})
}

// resume lets the command go on after redlock does, if it still holds the lock.
// If not, it is ended stopped as it is.
func (j *job) resume() {
	if !j.stopped || !j.mayRun() {
		return
	}
	j.stopped = false
	if j.regive {
		j.giveTerminal()
	}
	j.send(unix.SIGCONT)
}

// forward passes on a signal that was sent to redlock.
func (j *job) forward(sig os.Signal) {
	switch {
	case sig == unix.SIGCONT && j.stopped:
		j.resume()
		return
	case sig == unix.SIGTSTP:
		j.asked = true
	}
	j.send(sig.(unix.Signal))
}

// terminate asks the group to end, also if it is stopped.
func (j *job) terminate() {
	j.send(unix.SIGTERM)
	j.send(unix.SIGCONT)
}

func (j *job) kill() { j.send(unix.SIGKILL) }

// send signals the group. It may be gone by now.
func (j *job) send(sig unix.Signal) { _ = unix.Kill(-j.group, sig) }

// groupLeft says whether the group has processes yet.
func (j *job) groupLeft() bool { return unix.Kill(-j.group, 0) == nil }

// close takes the terminal back and, once the command has ended, waits for what
// os/exec copies if its streams are not files.
func (j *job) close() {
	j.takeTerminal()
	j.tty.close()
	if _, ok := j.cmd.Stdin.(*os.File); !ok {
		_ = j.cmd.Wait() // it cannot find the process any more
		return
	}
	_ = j.cmd.Process.Release()
}

// giveTerminal puts the group on the terminal if redlock's is, and says whether
// the group is there now.
func (j *job) giveTerminal() bool {
	if j.tty == nil {
		return false
	}
	if j.tty.group() == unix.Getpgrp() {
		j.given = j.tty.set(j.group)
	}
	return j.tty.group() == j.group
}

// takeTerminal gets the terminal back from the group, or from one that the
// command made and that is gone. If the shell has it, it stays there.
func (j *job) takeTerminal() {
	if !j.given {
		return
	}
	j.given = false
	now := j.tty.group()
	if now == j.group || unix.Kill(-now, 0) == unix.ESRCH {
		j.tty.set(unix.Getpgrp())
	}
}
