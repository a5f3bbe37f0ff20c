package report

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/quorumlock/redlock/bench/peers/internal/workloads"
)

// good gives results that meet every demand.
func good() *Results {
	r := &Results{Config: workloads.Config{Rounds: 1}}
	add := func(workload, peer string, f workloads.Figures) {
		r.Runs = append(r.Runs, workloads.Run{Workload: workload, Peer: peer, Figures: f})
	}
	add("alone", "redlock", workloads.Figures{"both_p50_us": 200, "allocs": 24})
	add("alone", "redsync", workloads.Figures{"both_p50_us": 500})
	add("alone", "go-redis fan-out", workloads.Figures{"both_p50_us": 300})
	for _, crowd := range []string{"crowd-64", "crowd-512"} {
		add(crowd, "redlock", workloads.Figures{"ops_per_s": 60000, "client_cpu_us": 10, "server_cpu_us": 10})
		add(crowd, "redsync", workloads.Figures{"ops_per_s": 3000, "client_cpu_us": 300, "server_cpu_us": 200})
		add(crowd, "go-redis pipelined", workloads.Figures{"ops_per_s": 50000})
	}
	add("hot", "redlock", workloads.Figures{"handoffs_per_s": 2000, "wait_p99_us": 10, "fairness": 0.95, "handoff_per_lock": 2, "commands": 50})
	add("hot", "redsync", workloads.Figures{"handoffs_per_s": 60, "wait_p99_us": 300})
	add("hot-shared", "redlock", workloads.Figures{"sections_per_s": 90000})
	add("hot-shared", "redsync", workloads.Figures{"sections_per_s": 1000})
	for _, fault := range []string{"slow", "stopped", "closed"} {
		add("bad-"+fault, "redlock", workloads.Figures{"lock_p99_per_healthy": 1.2, "unlock_p99_per_healthy": 1})
		add("sustained-"+fault, "redlock", workloads.Figures{"goroutines_begin": 40, "goroutines_end": 41, "memory_begin_kib": 3000, "memory_end_kib": 3100})
	}
	add("held", "redlock", workloads.Figures{"leases": 100_000, "bytes_per_lease": 900, "core_percent": 40})
	return r
}

func missed(r *Results) (what []string) {
	for _, v := range r.Check() {
		if !v.OK() {
			what = append(what, v.What)
		}
	}
	return what
}

func TestCheck(t *testing.T) {
	if m := missed(good()); len(m) > 0 {
		t.Fatalf("good results miss %q", m)
	}
	for _, c := range []struct {
		hurt func(f map[string]workloads.Figures)
		want string
	}{
		{func(f map[string]workloads.Figures) { f["alone redlock"]["both_p50_us"] = 260 }, "alone: p50 of lock and unlock ÷ redsync's"},
		{func(f map[string]workloads.Figures) { f["crowd-512 redlock"]["ops_per_s"] = 30001 - 2 }, "512 goroutines: operations a second ÷ redsync's"},
		{func(f map[string]workloads.Figures) { f["crowd-64 redlock"]["client_cpu_us"] = 34 }, "64 goroutines: client CPU an operation ÷ redsync's"},
		{func(f map[string]workloads.Figures) { f["hot redlock"]["fairness"] = 0.89 }, "hot key, 16 lockers: fewest ÷ most sections"},
		{func(f map[string]workloads.Figures) { delete(f["hot redlock"], "commands") }, "hot key, 16 lockers: server commands a section"},
		{func(f map[string]workloads.Figures) { f["bad-slow redlock"]["lock_p99_per_healthy"] = math.Inf(1) }, "one node slow: p99 of lock ÷ the healthy one"},
		{func(f map[string]workloads.Figures) { f["sustained-closed redlock"]["goroutines_end"] = 80 }, "one node closed, under load for long: goroutines late ÷ early"},
		{func(f map[string]workloads.Figures) { f["held redlock"]["leases"] = 10 }, "100,000 leases: % of a core"},
	} {
		r := good()
		figures := map[string]workloads.Figures{}
		for _, run := range r.Runs {
			figures[run.Workload+" "+run.Peer] = run.Figures
		}
		c.hurt(figures)
		if m := strings.Join(missed(r), "\n"); !strings.Contains(m, c.want) {
			t.Errorf("%q was not missed, but %q", c.want, m)
		}
	}
}

// Whatever else is good, a broken promise is not.
func TestCheckCountsBrokenPromises(t *testing.T) {
	r := good()
	r.Runs[0].Problems = []string{"1 times two held one key"}
	r.Runs[1].Problems = []string{"3 locks were left on the servers"} // redsync's
	if v := r.broken(); v.OK() || v.Value != 1 {
		t.Errorf("broken = %+v, want 1", v)
	}
	if got := Missed(r.Check()); got != 1 {
		t.Errorf("%d demands missed, want 1", got)
	}
}

func TestSaveAndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	for _, r := range []*Results{good(), {}} {
		if err := r.Save(path); err != nil {
			t.Fatal(err)
		}
		back, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(back.Runs) != len(r.Runs) || len(r.Runs) > 0 && !reflect.DeepEqual(back.Runs, r.Runs) {
			t.Errorf("Load gave %+v, Save had %+v", back.Runs, r.Runs)
		}
	}
	if _, err := Load(path + "x"); err == nil {
		t.Error("Load of a missing file gave no error")
	}
}

func TestInsertReplacesTheTablesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+beginMark+"old\n"+endMark+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := good().Insert(path, "x/run.json"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := string(text)
	if !strings.HasPrefix(s, "before\n"+beginMark) || !strings.HasSuffix(s, endMark+"after\n") || strings.Contains(s, "old") ||
		strings.Count(s, "bench/results/run.json") != 1 {
		t.Errorf("the file is\n%s", s)
	}
	if err := os.WriteFile(path, []byte("no place\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := good().Insert(path, "run.json"); err == nil {
		t.Error("no error for a file without a place")
	}
}

func TestTables(t *testing.T) {
	r := good()
	r.Runs[2].Error = "it\nfailed"
	var text, markdown bytes.Buffer
	r.WriteText(&text)
	r.WriteMarkdown(&markdown)
	for _, want := range []string{"redsync", "0.40", "alone, go-redis fan-out, round 1: failed: it; failed"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(markdown.String(), want) {
			t.Errorf("%q is not shown", want)
		}
	}
	if !strings.Contains(markdown.String(), "| 512 goroutines: operations a second ÷ redsync's | 20.0 | ≥ 10.0 | ok |") {
		t.Errorf("no verdict in\n%s", markdown.String())
	}
}
