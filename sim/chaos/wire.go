package chaos

import (
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/sim"
)

// spec is what a client's process is told to be, as its first line of input.
type spec struct {
	Client     int
	Life       int // how often it was started before
	Seed       uint64
	URLs       []string
	Store      string // address
	TTL        time.Duration
	MaxTTL     time.Duration
	MinValid   time.Duration
	Timeout    time.Duration // NodeTimeout
	MaxHold    time.Duration
	OutageWait time.Duration
	DriftPPM   int64
	NoRenew    bool
	Strict     bool   // StrictOrder
	Handoffs   int    // LocalHandoffs
	Without    string // defences that this client does without
	Signals    []string
	Healed     bool

	Key  string // a plan of one program on one key
	Work sim.Work

	Keys     []string // or many goroutines on many keys
	Routines int
}

func (s *spec) options() redlock.Options {
	return redlock.Options{
		TTL: s.TTL, MaxTTL: s.MaxTTL, MinValidity: s.MinValid, NodeTimeout: s.Timeout, MaxHold: s.MaxHold, OutageWait: s.OutageWait,
		DriftFactor: float64(s.DriftPPM) / 1e6, NoRenew: s.NoRenew,
		StrictOrder: s.Strict, LocalHandoffs: s.Handoffs,
	}
}

// command is a line to a client's process.
type command struct {
	Start bool `json:"start,omitempty"`
	Go    int  `json:"go,omitempty"` // what waits at this gate goes on
	Nudge bool `json:"nudge,omitempty"`
	Heal  bool `json:"heal,omitempty"`
	Stop  bool `json:"stop,omitempty"`
}

// said is a line from a process: a deed, by its own reading of the clock, or
// something else.
type said struct {
	*sim.Deed
	Ready  string  `json:"ready,omitempty"`  // it is: a store tells its address
	Signal string  `json:"signal,omitempty"` // an event that a fault waits for, such as "checks#3"
	Gate   int     `json:"gate,omitempty"`   // it waits for this gate's command
	Error  string  `json:"error,omitempty"`
	Sample *Sample `json:"sample,omitempty"`
}

// Sample is what a client's process takes of the machine at some moment.
type Sample struct {
	At         time.Duration `json:"at"`
	Client     int           `json:"client"`
	Life       int           `json:"life"`
	RSS        int64         `json:"rss"`  // bytes
	Heap       int64         `json:"heap"` // bytes that the collector found in use
	Goroutines int           `json:"goroutines"`
	Files      int           `json:"files"`       // descriptors
	Conns      int           `json:"connections"` // sockets among them
}
