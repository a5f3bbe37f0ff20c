package report

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine says what it was measured on.
type Machine struct {
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	CPU   string `json:"cpu,omitempty"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	Redis string `json:"redis,omitempty"`
}

// ThisMachine is where the program runs.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: cpuModel()}
	if out, err := exec.Command("redis-server", "--version").Output(); err == nil {
		for field := range strings.FieldsSeq(string(out)) {
			if version, ok := strings.CutPrefix(field, "v="); ok {
				m.Redis = version
			}
		}
	}
	return m
}

func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
