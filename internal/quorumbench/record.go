package quorumbench

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/quorumlock/redlock"
)

// histogram is an HDR histogram of latencies up to 10 minutes, to three digits.
type histogram struct{ *hdrhistogram.Histogram }

const longest = 10 * time.Minute

func newHistogram() histogram { return histogram{hdrhistogram.New(1, int64(longest), 3)} }

func (h histogram) add(d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), longest))) // it is in the range
}

func (h histogram) at(percentile float64) time.Duration {
	return time.Duration(h.ValueAtQuantile(percentile))
}

// slices is how many slices of time a run is shown in.
const slicesShown = 60

// round is one attempt's acquires, one for each node.
type round struct {
	votes []nodeVote
	heard int
}

type nodeVote struct {
	node    int
	latency time.Duration
	granted bool
	heard   bool
}

// nodeRecord is what one node did.
type nodeRecord struct {
	name             string
	acquire, release histogram
	decided, last    int64 // rounds
	asked, failed    int64
	lastError        string
}

// recorder takes in what the workers and the nodes do. What happens before begin
// does not count.
type recorder struct {
	cfg    *Config
	quorum int
	index  map[string]int // of the nodes, by name

	mu      sync.Mutex
	counts  bool
	started time.Duration
	nodes   []nodeRecord
	rounds  map[string]*round // by owner: those that not all nodes have answered

	lock, unlock                  histogram
	majority, all, saved, oneGone histogram
	complete                      int64 // rounds, of the four above
	confirms                      int64
	failures                      map[string]int64
	failedLocks                   int64
	slice                         histogram
	sliceAt                       int
	slices                        []Slice
}

func newRecorder(cfg *Config) *recorder {
	return &recorder{
		cfg: cfg, rounds: map[string]*round{}, failures: map[string]int64{},
		lock: newHistogram(), unlock: newHistogram(), slice: newHistogram(),
		majority: newHistogram(), all: newHistogram(), saved: newHistogram(), oneGone: newHistogram(),
	}
}

func (r *recorder) begin(now time.Duration, nodes []redlock.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts, r.started, r.quorum = true, now, len(nodes)/2+1
	r.index = make(map[string]int, len(nodes))
	for i, n := range nodes {
		r.index[n.Name()] = i
		r.nodes = append(r.nodes, nodeRecord{name: n.Name(), acquire: newHistogram(), release: newHistogram()})
	}
}

// locked takes in one lock that was had at the time now, and given back.
func (r *recorder) locked(now, lock, unlock time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failures[kindOf(err)]++
	}
	r.lock.add(lock)
	r.unlock.add(unlock)
	at := min(int((now-r.started)*slicesShown/r.cfg.For), slicesShown-1)
	if at != r.sliceAt {
		r.endSlice()
		r.sliceAt = at
	}
	r.slice.add(lock)
}

// failed takes in a lock that was not to be had.
func (r *recorder) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failedLocks++
	r.failures[kindOf(err)]++
}

func (r *recorder) endSlice() {
	if r.slice.TotalCount() == 0 {
		return
	}
	width := r.cfg.For / slicesShown
	r.slices = append(r.slices, Slice{
		From: Duration(time.Duration(r.sliceAt) * width), Locks: r.slice.TotalCount(),
		P50: Duration(r.slice.at(50)), P99: Duration(r.slice.at(99)), Max: Duration(r.slice.Max()),
	})
	r.slice.Reset()
}

func (r *recorder) progress() Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Progress{Locks: r.lock.TotalCount(), Failed: r.failedLocks, P50: r.lock.at(50)}
}

// observe takes in what a node answered.
func (r *recorder) observe(e *redlock.Event) {
	if e.Kind != redlock.EventVote {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i, known := r.index[e.Node]
	if !known || !r.counts {
		return
	}
	n := &r.nodes[i]
	n.asked++
	answered := e.Outcome == redlock.Granted || e.Outcome == redlock.Refused
	if !answered {
		n.failed++
		if e.Err != nil {
			n.lastError = e.Err.Error()
		}
	}
	switch e.Op {
	case "acquire":
		if answered {
			n.acquire.add(e.Latency)
		}
		r.vote(i, e, answered)
	case "release":
		if answered {
			n.release.add(e.Latency)
		}
	case "confirm":
		r.confirms++
	}
}

// vote takes in a node's part in a round.
func (r *recorder) vote(node int, e *redlock.Event, answered bool) {
	round := r.rounds[e.Owner]
	if round == nil {
		round = newRound(len(r.nodes))
		r.rounds[e.Owner] = round
	}
	v := &round.votes[node]
	if v.heard {
		return // a lease asks again only when it is renewed
	}
	*v = nodeVote{node: node, latency: e.Latency, granted: answered && e.Outcome == redlock.Granted, heard: true}
	if round.heard++; round.heard == len(r.nodes) {
		r.finish(round)
		delete(r.rounds, e.Owner)
	}
}

func newRound(nodes int) *round { return &round{votes: make([]nodeVote, nodes)} }

// finish takes in a round that all nodes have had their say in. Rounds that were not
// won tell of other things than the nodes' latencies.
func (r *recorder) finish(round *round) {
	slices.SortStableFunc(round.votes, func(a, b nodeVote) int { return cmp.Compare(a.latency, b.latency) })
	var granted []nodeVote
	for _, v := range round.votes {
		if v.granted {
			granted = append(granted, v)
		}
	}
	if len(granted) < r.quorum {
		return
	}
	decider, last := granted[r.quorum-1], round.votes[len(round.votes)-1]
	r.complete++
	r.nodes[decider.node].decided++
	r.nodes[last.node].last++
	r.majority.add(decider.latency)
	r.all.add(last.latency)
	r.saved.add(last.latency - decider.latency)
	if len(granted) > r.quorum {
		r.oneGone.add(granted[r.quorum].latency)
	}
}

// kindOf names a failure by what its caller could do about it.
func kindOf(err error) string {
	for _, kind := range []struct {
		err  error
		name string
	}{
		{redlock.ErrNoQuorum, "no quorum"},
		{redlock.ErrNotAcquired, "not acquired"},
		{redlock.ErrLost, "lost"},
	} {
		if errors.Is(err, kind.err) {
			return kind.name
		}
	}
	return "other"
}
