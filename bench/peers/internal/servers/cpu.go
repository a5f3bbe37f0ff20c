package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// children are the processes that this one has started and that still run. It
// finds none where there is no /proc.
func children() map[int]bool {
	found := map[int]bool{}
	self := os.Getpid()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		fields := statFields(path)
		if len(fields) < 2 {
			continue // it has ended meanwhile
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil && parent == self {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				found[pid] = true
			}
		}
	}
	return found
}

// statFields are the fields of a stat file from the state on: what stands before
// is the program's name, which may hold anything.
func statFields(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}

// CPU is the processor time that the servers of a kind have used so far, and
// whether it can be told here.
func (s *Servers) CPU(kind Kind) (time.Duration, bool) {
	var sum time.Duration
	for _, pid := range s.pids[kind] {
		used, ok := processCPU(pid)
		if !ok {
			return 0, false
		}
		sum += used
	}
	return sum, len(s.pids[kind]) > 0
}

// processCPU adds up the scheduler's own nanoseconds of all threads, which are far
// finer than the ticks of the stat file.
func processCPU(pid int) (time.Duration, bool) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return ticksCPU(pid)
	}
	var sum time.Duration
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		if ns, err := strconv.ParseInt(ran, 10, 64); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum, true
}

// userHZ is what the kernel counts in stat files on every common system.
const userHZ = 100

func ticksCPU(pid int) (time.Duration, bool) {
	const user, system = 11, 12 // behind the name
	fields := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	if len(fields) <= system {
		return 0, false
	}
	u, errU := strconv.ParseInt(fields[user], 10, 64)
	k, errK := strconv.ParseInt(fields[system], 10, 64)
	return time.Duration(u+k) * time.Second / userHZ, errU == nil && errK == nil
}
