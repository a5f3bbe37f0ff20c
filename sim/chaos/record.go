package chaos

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// Record is what a run left: everything that there is to judge. It can be written
// to a file and judged again.
type Record struct {
	Schema  int           `json:"schema"` // 1
	Name    string        `json:"name"`
	Quorum  string        `json:"quorum"`
	Seed    uint64        `json:"seed"`
	Without string        `json:"without,omitempty"` // as sim.ParseDefence reads it
	Config  *sim.Config   `json:"config"`
	Plan    []string      `json:"faults"` // as sim.ParseFault reads them
	Epoch   uint64        `json:"epoch_us"`
	Length  time.Duration `json:"length_ns"`
	Soak    bool          `json:"soak,omitempty"`

	History []sim.Deed `json:"-"` // a line each, after the first line
	Samples []Sample   `json:"-"`
}

// record is what the run left.
func (r *run) record() *Record {
	cfg := *r.cfg
	rec := &Record{
		Schema: 1, Name: r.plan.Name, Quorum: r.plan.Quorum, Seed: cfg.Seed, Without: r.plan.Without.String(), Config: &cfg,
		Epoch: r.epoch, Length: r.since(), Soak: r.plan.Mixed != nil, Samples: r.samples,
	}
	for _, f := range cfg.Faults {
		rec.Plan = append(rec.Plan, f.String())
	}
	cfg.Faults = nil
	rec.History = slices.Clone(r.history)
	slices.SortStableFunc(rec.History, func(a, b sim.Deed) int { return cmp.Compare(a.At, b.At) })
	return rec
}

// FileName is a name for the record's file.
func (rec *Record) FileName() string {
	name := rec.Name + "-" + rec.Quorum
	if rec.Without != "" {
		name += "-without-" + rec.Without
	}
	return name + ".jsonl"
}

// line is one line of a file but the first.
type line struct {
	Deed   *sim.Deed `json:"deed,omitempty"`
	Sample *Sample   `json:"sample,omitempty"`
}

// Write writes the record, a line of JSON for what was planned and then one for
// each deed.
func (rec *Record) Write(out io.Writer) error {
	b := bufio.NewWriter(out)
	e := json.NewEncoder(b)
	if err := e.Encode(rec); err != nil {
		return err
	}
	for i := range rec.History {
		if err := e.Encode(line{Deed: &rec.History[i]}); err != nil {
			return err
		}
	}
	for i := range rec.Samples {
		if err := e.Encode(line{Sample: &rec.Samples[i]}); err != nil {
			return err
		}
	}
	return b.Flush()
}

// Store writes it to a file of its own in a directory.
func (rec *Record) Store(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, rec.FileName())
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := rec.Write(f); err != nil {
		f.Close()
		return "", err
	}
	return path, f.Close()
}

// Read reads what Write wrote.
func Read(in io.Reader) (*Record, error) {
	d := json.NewDecoder(bufio.NewReader(in))
	rec := &Record{}
	if err := d.Decode(rec); err != nil {
		return nil, fmt.Errorf("chaos: this is no record of a run: %w", err)
	}
	if rec.Schema != 1 || rec.Config == nil {
		return nil, fmt.Errorf("chaos: this is no record of schema 1")
	}
	for {
		var l line
		err := d.Decode(&l)
		if err == io.EOF {
			return rec, rec.Config.Check()
		}
		if err != nil {
			return nil, fmt.Errorf("chaos: the record is damaged: %w", err)
		}
		if l.Deed != nil {
			rec.History = append(rec.History, *l.Deed)
		}
		if l.Sample != nil {
			rec.Samples = append(rec.Samples, *l.Sample)
		}
	}
}
