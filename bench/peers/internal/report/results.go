// Package report keeps the raw figures of a run and shows them: as a table, as
// Markdown, and compared with what is demanded of redlock.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/quorumlock/redlock/bench/peers/internal/measure"
	"github.com/quorumlock/redlock/bench/peers/internal/workloads"
)

// Results are the raw figures of a run.
type Results struct {
	Started time.Time        `json:"started"`
	Took    float64          `json:"took_s"`
	Machine Machine          `json:"machine"`
	Config  workloads.Config `json:"config"`
	Absent  []string         `json:"absent,omitempty"` // what did not take part, and why
	Runs    []workloads.Run  `json:"runs"`
}

// Load reads results that Save wrote.
func Load(path string) (*Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// Save writes the results, one run a line, so that versions can be compared.
func (r *Results) Save(path string) error {
	head := *r
	head.Runs = nil
	text, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return err
	}
	const noRuns = "\"runs\": null\n}"
	text = append(text[:len(text)-len(noRuns)], "\"runs\": [\n"...)
	for i, run := range r.Runs {
		line, err := json.Marshal(run)
		if err != nil {
			return err
		}
		text = append(append(text, "    "...), line...)
		if i < len(r.Runs)-1 {
			text = append(text, ',')
		}
		text = append(text, '\n')
	}
	return os.WriteFile(path, append(text, "  ]\n}\n"...), 0o644)
}

// figure gives one figure of one peer by round.
func (r *Results) figure(workload, peer, name string) map[int]float64 {
	byRound := map[int]float64{}
	for _, run := range r.Runs {
		if run.Workload == workload && run.Peer == peer && run.Error == "" {
			if v, ok := run.Figures[name]; ok {
				byRound[run.Round] = v
			}
		}
	}
	return byRound
}

// median is the median of one figure over the rounds.
func (r *Results) median(workload, peer, name string) float64 {
	var values []float64
	for _, v := range r.figure(workload, peer, name) {
		values = append(values, v)
	}
	return measure.Median(values)
}

// ratio is the median of the ratios of one figure within a round.
func (r *Results) ratio(workload, peer, to, name string) float64 {
	return measure.Ratio(r.figure(workload, peer, name), r.figure(workload, to, name))
}

// peersOf are those that took part in a workload, as they did first.
func (r *Results) peersOf(workload string) (names []string) {
	seen := map[string]bool{}
	for _, run := range r.Runs {
		if run.Workload == workload && !seen[run.Peer] {
			seen[run.Peer] = true
			names = append(names, run.Peer)
		}
	}
	return names
}
