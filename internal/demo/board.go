package demo

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/redlock"
)

// board holds what is to be seen of a running demo.
type board struct {
	clock redlock.Clock
	began time.Duration

	mu      sync.Mutex
	title   string
	nodes   []nodeRow
	workers []workerRow
	events  []event
}

type nodeRow struct {
	name                     string
	state                    nodeState
	granted, refused, failed int
}

type nodeState string

// A node is silent if it did not answer the last request, and barred if it may
// not vote, such as one that was started a moment ago.
const (
	up      nodeState = "up"
	killed  nodeState = "KILLED"
	unheard nodeState = "silent"
	barred  nodeState = "barred"
)

type workerRow struct {
	name  string
	state workerState
	locks int
	token uint64 // of its last lease
}

type workerState string

const (
	idle    workerState = "idle"
	waiting workerState = "waiting"
	holding workerState = "HOLDING"
	paused  workerState = "PAUSED"
)

// event is something that happened, for the timeline.
type event struct {
	at   time.Duration
	text string
}

func newBoard(clock redlock.Clock, title string, nodes []string, workers int) *board {
	b := &board{clock: clock, began: clock.Now(), title: title}
	for _, name := range nodes {
		b.nodes = append(b.nodes, nodeRow{name: name, state: up})
	}
	for i := range workers {
		b.workers = append(b.workers, workerRow{name: fmt.Sprintf("worker-%d", i+1), state: idle})
	}
	return b
}

func (b *board) elapsed() time.Duration { return b.clock.Now() - b.began }

func (b *board) event(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, event{at: b.elapsed(), text: fmt.Sprintf(format, args...)})
}

// worker shows a worker's state. A token is that of a lease it has just got.
func (b *board) worker(i int, s workerState, token uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	row := &b.workers[i]
	row.state = s
	if token != 0 {
		row.token = token
		row.locks++
	}
}

func (b *board) kill(node int, dead bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nodes[node].state = up
	if dead {
		b.nodes[node].state = killed
	}
}

// vote counts votes on acquires, confirms and extends. Releases are no votes.
func (b *board) vote(e redlock.Event) {
	if e.Op == "release" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.nodes, func(n nodeRow) bool { return n.name == e.Node })
	if i < 0 {
		return
	}
	row, state := &b.nodes[i], up
	switch e.Outcome {
	case redlock.Granted:
		row.granted++
	case redlock.Refused:
		row.refused++
	case redlock.Barred:
		row.failed++
		state = barred
	default:
		row.failed++
		state = unheard
	}
	if row.state != killed {
		row.state = state
	}
}

// snapshot is all that a view shows at one moment.
type snapshot struct {
	title            string
	elapsed, planned time.Duration
	nodes            []nodeRow
	workers          []workerRow
	events           []event

	acquisitions, overlaps   int
	staleRefused, staleTaken int
}

func (d *demo) snapshot() snapshot {
	b := d.board
	b.mu.Lock()
	s := snapshot{
		title: b.title, elapsed: b.elapsed(), planned: d.Duration,
		nodes: slices.Clone(b.nodes), workers: slices.Clone(b.workers), events: slices.Clone(b.events),
	}
	b.mu.Unlock()
	s.acquisitions, s.overlaps = d.ledger.acquisitions(), d.ledger.overlaps()
	s.staleRefused, s.staleTaken = d.fenced.staleWrites(), d.unfenced.staleWrites()
	return s
}
