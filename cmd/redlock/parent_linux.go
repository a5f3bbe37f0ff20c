package main

import (
	"runtime"
	"syscall"
)

// The kernel kills a child along with the thread that started it, and Go ends
// threads as it likes, but never the main one: the main goroutine, which starts
// the command, stays on that.
func init() { runtime.LockOSThread() }

// dieWithParent has the command killed if redlock ends without doing so itself,
// by SIGKILL for instance: nobody would renew the lock then.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
