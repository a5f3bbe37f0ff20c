package protocol

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// checker knows the true time and what every node has, and trusts no attempt. Its
// arithmetic is its own.
type checker struct {
	world     *world
	lastToken uint64
	broken    string // the first rule that was, with what happened

	wins, renewals, confirmed, losses, excused int // to see that something happened
}

func (k *checker) fail(rule, format string, args ...any) {
	if k.broken == "" {
		k.broken = rule + ": " + fmt.Sprintf(format, args...)
	}
}

func (k *checker) require(ok bool, rule, format string, args ...any) {
	if !ok {
		k.fail(rule, format, args...)
	}
}

// holds says that the attempt's user may rely on the lease at this very instant.
func (at *worldAttempt) holds() bool {
	return at.won && !at.over && at.client.now() < at.until
}

func (k *checker) same(at *worldAttempt, clone, original []Output) {
	if len(clone) == 0 && len(original) == 0 {
		return
	}
	k.require(reflect.DeepEqual(clone, original), "clone", "attempt %d: %v instead of %v", at.owner, clone, original)
}

// output looks at what an attempt is about to do.
func (k *checker) output(at *worldAttempt, out Output) {
	w := k.world
	w.trace.add(w, "attempt %d: out %d node %d %v token %d until %d reason %v", at.owner, out.Kind, out.Node, out.Request, out.Token, out.Until, out.Reason)
	stops := out.Kind == SetTimer && out.At == 0
	k.require(!at.finished || stops, "finished", "attempt %d goes on: %v", at.owner, out.Kind)
	switch out.Kind {
	case Won:
		k.won(at, out)
	case Renewed:
		k.renewals++
		k.require(at.holds() || at.over, "resurrection", "attempt %d is renewed after its end", at.owner)
		k.justified(at, out.Until)
	case Lost:
		k.losses++
		k.require(at.taken && !at.over, "report", "attempt %d is lost, but was not held", at.owner)
	case Failed:
		k.require(!at.failed && !at.taken || at.won && !at.over, "report", "attempt %d fails again", at.owner)
	case Prolonged, NotProlonged:
		at.asked--
		k.require(at.asked >= 0, "report", "attempt %d answers a Prolong that was not made", at.owner)
	case Finished:
		k.require(len(at.open) == 0, "finished", "attempt %d finishes before all have answered", at.owner)
		k.require(at.asked == 0, "report", "attempt %d finishes without an answer to a Prolong", at.owner)
		for _, n := range w.nodes {
			if n.stands() && n.owner == at.owner {
				k.leftBehind(n, at)
			}
		}
		k.require(!out.Free || k.keep(at) <= w.cfg.Nodes-w.cfg.Quorum, "left behind", "attempt %d believes that a majority is free of it", at.owner)
	}
}

// keep counts the nodes that hold for an attempt whose release they have not handled.
func (k *checker) keep(at *worldAttempt) int {
	keep := 0
	for _, n := range k.world.nodes {
		if _, released := n.notes.released[at.owner]; n.stands() && n.owner == at.owner && !n.notes.byRepeat && !released {
			keep++
		}
	}
	return keep
}

func (k *checker) won(at *worldAttempt, out Output) {
	w := k.world
	k.wins++
	k.require(!at.won && !at.over, "report", "attempt %d wins twice, or after its end", at.owner)
	for _, other := range w.owners {
		k.require(other == at || !other.holds(), "exclusion", "attempt %d wins while %d holds", at.owner, other.owner)
	}
	k.require(out.Token > k.lastToken, "token order", "attempt %d has token %d, after %d", at.owner, out.Token, k.lastToken)
	k.lastToken = out.Token
	stored, granted := 0, 0
	for _, n := range w.nodes {
		if n.notes.stored[at.owner][out.Token] {
			stored++
		}
		if n.owner == at.owner && n.fence == out.Token {
			granted++
		}
	}
	if granted < Majority(w.cfg.Nodes) {
		k.confirmed++
	}
	k.require(stored >= Majority(w.cfg.Nodes), "token stored", "token %d of attempt %d is on %d nodes only", out.Token, at.owner, stored)
	k.justified(at, out.Until)
}

func (k *checker) handedOver(at *worldAttempt) {
	left := at.until.Sub(at.client.now())
	k.require(left > 0 && left >= k.world.cfg.MinValidity, "handover", "attempt %d reaches its user with %v left", at.owner, left)
}

// justified says that a majority of nodes keep the grant until then: by their own
// clocks and records. Those that lost it do not count votes yet.
func (k *checker) justified(at *worldAttempt, until Instant) {
	end := at.client.clock.when(at.mutated(until))
	keep := 0
	for _, n := range k.world.nodes {
		mute := n.life > 0 && k.world.now-n.notes.lostAt < trueTime(k.world.cfg.MaxTTL)
		if n.owner == at.owner && n.until >= n.clock.read(end-1) || mute {
			keep++
		}
	}
	k.require(keep >= Majority(k.world.cfg.Nodes), "validity", "only %d nodes keep attempt %d as long as it believes", keep, at.owner)
}

// granted looks at a new grant: its owner may be gone.
func (k *checker) granted(n *worldNode) {
	if at := k.world.owners[n.owner]; at.finished {
		k.leftBehind(n, at)
	}
}

// leftBehind is a grant of a finished attempt. That may be when no release came
// through until the attempt gave up; when the network repeated an acquire; or
// when the node lost its memory of the release.
func (k *checker) leftBehind(n *worldNode, at *worldAttempt) {
	life, released := n.notes.released[at.owner]
	switch {
	case n.notes.byRepeat, released && life < n.life, at.released[n.id] && !released:
		k.excused++
	default:
		k.fail("left behind", "node %d holds for attempt %d, which has finished", n.id, at.owner)
	}
}

func (k *checker) everyAttemptFinished() {
	if ids := k.world.unfinished(); len(ids) > 0 {
		k.fail("unfinished", "attempts %v of %d", ids, len(k.world.owners))
	}
}

var (
	worldSeeds = flag.Int("seeds", 0, "how many worlds to run; default 150, or $REDLOCK_SEEDS")
	worldSeed  = flag.Int64("seed", -1, "run one world and print its trace")
)

func seeds(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("REDLOCK_SEEDS")); err == nil && *worldSeeds == 0 {
		return n
	}
	if *worldSeeds > 0 {
		return *worldSeeds
	}
	if testing.Short() {
		return 50
	}
	return 150
}

// Whatever the network, the nodes and the clocks do within the contract: at most
// one holder, tokens that grow, and nothing left behind.
func TestWorlds(t *testing.T) {
	if *worldSeed >= 0 {
		w := newWorld(uint64(*worldSeed), mutant{})
		w.trace.keep = true
		broken := w.run()
		t.Logf("%+v\n%s", w.plan, w.trace.text.String())
		require.Empty(t, broken)
		return
	}
	var sum checker
	attempts, events := 0, 0
	for seed := range seeds(t) {
		w := newWorld(uint64(seed), mutant{})
		broken := w.run()
		require.Empty(t, broken, "replay: go test ./internal/protocol -run TestWorlds -v -seed %d", seed)
		sum.wins += w.checker.wins
		sum.renewals += w.checker.renewals
		sum.confirmed += w.checker.confirmed
		sum.losses += w.checker.losses
		sum.excused += w.checker.excused
		attempts, events = attempts+len(w.owners), events+w.events
	}
	t.Logf("%d worlds, %d events, %d attempts, %d won, %d of them with a confirm, %d renewals, %d lost, %d grants excused",
		seeds(t), events, attempts, sum.wins, sum.confirmed, sum.renewals, sum.losses, sum.excused)
	for _, n := range []int{sum.wins, sum.renewals, sum.confirmed, sum.losses} {
		require.Positive(t, n, "the worlds are too quiet to prove anything")
	}
}

// A network that loses and repeats nothing, and nodes that stay up, leave no
// excuse: every grant is given back.
func TestQuietWorldsLeaveNothingBehind(t *testing.T) {
	for seed := range seeds(t) / 4 {
		w := newWorld(uint64(seed), mutant{plan: func(p *plan) {
			p.lossy, p.repeats, p.slow, p.restarts, p.outages, p.cuts, p.pauses = 0, 0, 0, 0, 0, 0, 0
		}})
		require.Empty(t, w.run(), "seed %d", seed)
		require.Zero(t, w.checker.excused, "seed %d", seed)
	}
}

// A run that cannot be repeated cannot be understood.
func TestEqualSeedsGiveEqualWorlds(t *testing.T) {
	for seed := range 10 {
		first, second := newWorld(uint64(seed), mutant{}), newWorld(uint64(seed), mutant{})
		first.run()
		second.run()
		require.Equal(t, first.trace.hash.Sum64(), second.trace.hash.Sum64(), "seed %d", seed)
		other := newWorld(uint64(seed)+1000, mutant{})
		other.run()
		require.NotEqual(t, first.trace.hash.Sum64(), other.trace.hash.Sum64(), "seed %d", seed)
	}
}
