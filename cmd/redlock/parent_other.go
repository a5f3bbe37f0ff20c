//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import "syscall"

// dieWithParent does nothing where the kernel cannot.
func dieWithParent(*syscall.SysProcAttr) {}
