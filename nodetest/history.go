package nodetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/quorumlock/redlock"
)

const (
	// contested is how many keys all clients want in a round.
	contested = 2

	// forRound is the TTL of grants: longer than any round.
	forRound = time.Hour

	// again is after how long a call that failed, and must not, is made once more.
	again = 5 * time.Millisecond
)

// Linearizable has clients take and give up keys at random, all at once, for so many
// rounds. The clients are nodes on one server, each perhaps with connections of its
// own. Then it looks for an order of all calls, each somewhere between its beginning
// and its end, in which a node that handles one after the other would have answered the
// same, by the rules of [redlock.Node]; a call that failed was handled at any time after
// it began, or never. The test fails if there is none.
//
// Calls may fail, so the caller may cut connections and the like meanwhile. A client
// tries each release until it succeeds, for 10 s at most: then the test fails, too. The
// server must not lose grants.
func Linearizable(t *testing.T, clients []redlock.Node, rounds int) {
	t.Helper()
	for range rounds {
		if problem := playRound(clients); problem != "" {
			t.Fatalf("%s\nagainst the rules of redlock.Node, taken together", problem)
		}
	}
}

// playRound returns what went wrong.
func playRound(clients []redlock.Node) (problem string) {
	h := &history{name: newOwner()}
	var players sync.WaitGroup
	for _, n := range clients {
		p := &player{history: h, node: n, waiter: newOwner()}
		players.Go(p.play)
	}
	players.Wait()
	for i := range contested {
		h.do(clients[0], &act{key: h.key(i)}).wait()
		if problem := h.judge(i); problem != "" {
			return problem
		}
	}
	return h.unanswered()
}

// act is one call and its answer.
type act struct {
	op    redlock.Op // none: an inspection
	key   string
	owner string

	hint  uint64        // of an acquire
	place redlock.Place // likewise
	first bool          // an acquire that is the owner's first call
	fence uint64        // of a confirm or an extend
	token uint64        // of a confirm

	submitted bool // if the node takes calls so

	call, end int64 // positions among all beginnings and ends; no end: it failed
	givenUp   bool  // a release of the owner began before the end

	vote  redlock.Vote
	state redlock.NodeState
	err   error
	done  chan struct{}
}

func (a *act) wait() { <-a.done }

func (a *act) String() string {
	var what string
	switch a.op {
	case redlock.OpAcquire:
		what = fmt.Sprintf("acquire, hint %d", a.hint)
		if a.place.Waiter != "" {
			what += fmt.Sprintf(", for waiter %.6s", a.place.Waiter)
		}
	case redlock.OpConfirm:
		what = fmt.Sprintf("confirm of %d, token %d", a.fence, a.token)
	case redlock.OpExtend:
		what = fmt.Sprintf("extend of %d", a.fence)
	case redlock.OpRelease:
		what = "release"
	default:
		what = "inspect"
	}
	result := "done"
	switch {
	case a.err != nil:
		result = a.err.Error()
	case a.op == 0:
		result = fmt.Sprintf("held %t by %.6s", a.state.Held, a.state.Owner)
	case a.vote.Granted:
		result = fmt.Sprintf("yes, fence %d, counter %d", a.vote.Fence, a.vote.Counter)
	case a.op != redlock.OpRelease:
		result = fmt.Sprintf("no, held by %.6s, counter %d", a.vote.Holder, a.vote.Counter)
	}
	return fmt.Sprintf("%4d to %4d: %.6s: %s: %s", a.call, a.end, a.owner, what, result)
}

// history is what happened in a round.
type history struct {
	name     string
	position atomic.Int64

	mu   sync.Mutex
	acts []*act
}

func (h *history) key(i int) string { return fmt.Sprintf("%s/%d", h.name, i) }

// do begins an act.
func (h *history) do(n redlock.Node, a *act) *act {
	a.done = make(chan struct{})
	h.mu.Lock()
	h.acts = append(h.acts, a)
	h.mu.Unlock()
	a.call = h.position.Add(1)
	ended := func(v redlock.Vote, s redlock.NodeState, err error) {
		a.vote, a.state, a.err = v, s, err
		if err == nil {
			a.end = h.position.Add(1)
		}
		close(a.done)
	}
	begun := realClock.Now()
	var try func()
	told := func(v redlock.Vote, s redlock.NodeState, err error) {
		unsettled := err != nil || partial(s.Owner)
		if unsettled && a.mustSucceed() && realClock.Now()-begun < stuck {
			realClock.AfterFunc(again, try)
			return
		}
		ended(v, s, err)
	}
	try = func() {
		if s, ok := n.(redlock.Submitter); ok && a.submitted {
			a.submit(s, told)
		} else {
			go a.make(n, told)
		}
	}
	try()
	return a
}

// partial says that a holder is none whom a key was granted to: somebody is in the
// middle of an acquire or a release.
func partial(holder string) bool { return holder != "" && len(holder) != ownerLength }

// mustSucceed says that the act is not over before it has succeeded, and an inspection
// not before it has found the key settled.
func (a *act) mustSucceed() bool { return a.op == 0 || a.op == redlock.OpRelease }

// unanswered tells of an act that had to succeed, and failed for as long as it was tried: if
// all calls fail, any order of them is right.
func (h *history) unanswered() (problem string) {
	for _, a := range h.acts {
		if a.mustSucceed() && a.err != nil {
			return fmt.Sprintf("over %v, a call did not succeed:\n%v", stuck, a)
		}
	}
	return ""
}

type told func(redlock.Vote, redlock.NodeState, error)

// make makes a call by a node's simple methods.
func (a *act) make(n redlock.Node, told told) {
	ctx, cancel := realClock.WithTimeout(context.Background(), stuck)
	defer cancel()
	var v redlock.Vote
	var s redlock.NodeState
	var err error
	switch a.op {
	case redlock.OpAcquire:
		v, err = n.Acquire(ctx, redlock.AcquireRequest{Key: a.key, Owner: a.owner, TTL: forRound, Hint: a.hint, Place: a.place})
	case redlock.OpConfirm:
		v, err = n.Confirm(ctx, redlock.ConfirmRequest{Key: a.key, Owner: a.owner, Fence: a.fence, Token: a.token})
	case redlock.OpExtend:
		v, err = n.Extend(ctx, redlock.ExtendRequest{Key: a.key, Owner: a.owner, Fence: a.fence, TTL: forRound})
	case redlock.OpRelease:
		err = n.Release(ctx, redlock.ReleaseRequest{Key: a.key, Owner: a.owner})
	default:
		s, err = n.Inspect(ctx, a.key)
	}
	told(v, s, err)
}

func (a *act) submit(n redlock.Submitter, told told) {
	call := &redlock.Call{
		Op: a.op, Key: a.key, Owner: a.owner, Timeout: stuck,
		Hint: a.hint, Place: a.place, Fence: a.fence, Token: a.token,
		Ordered: a.first || a.op == redlock.OpRelease, Wake: true,
		Done: func(c *redlock.Call) { told(c.Vote, redlock.NodeState{}, c.Err) },
	}
	if a.op == redlock.OpAcquire || a.op == redlock.OpExtend {
		call.TTL = forRound
	}
	n.Submit(call)
}

// judge looks for an order of what happened to a key.
func (h *history) judge(i int) (problem string) {
	acts := slices.DeleteFunc(slices.Clone(h.acts), func(a *act) bool { return a.key != h.key(i) })
	last := h.position.Add(1)
	released := map[string]int64{} // when each owner's first release began
	for _, a := range acts {
		if a.end == 0 {
			a.end = last
		}
		if began, is := released[a.owner]; a.op == redlock.OpRelease && (!is || a.call < began) {
			released[a.owner] = a.call
		}
	}
	var operations []porcupine.Operation
	for _, a := range acts {
		began, is := released[a.owner]
		a.givenUp = is && began < a.end
		operations = append(operations, porcupine.Operation{Input: a, Call: a.call, Return: a.end})
	}
	if porcupine.CheckOperations(contract, operations) {
		return ""
	}
	slices.SortFunc(acts, func(a, b *act) int { return cmp.Compare(a.call, b.call) })
	var b strings.Builder
	b.WriteString("there is no order in which a node could have answered these calls so:")
	for _, a := range acts {
		fmt.Fprintf(&b, "\n%v", a)
	}
	return b.String()
}

// nodeState is what a node that keeps the rules has of a key.
type nodeState struct {
	owner string // who holds it
	fence uint64 // of that grant; 0 if its owner was not told yet
	floor uint64 // all later fences are above it
	over  string // all owners that were released
	aside bool   // it may be set aside for a waiter, by now or soon
}

// contract is a node of one key, which does one thing after the other.
var contract = porcupine.Model{
	Init: func() any { return nodeState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, a := state.(nodeState), input.(*act)
		legal := s.step(a)
		return legal, s
	},
}

// step is what a node does with a call, if it could have answered it so. A release may
// take steps of its own: who gives a grant up has no claim to it from the first of them
// on, and others may find it held until the last. An acquire may be handled twice: if
// its owner was released in between, it was granted, perhaps, and is refused.
func (s *nodeState) step(a *act) (legal bool) {
	mine, unknown := s.owner == a.owner, a.err != nil
	if refused := !unknown && !a.vote.Granted; refused && a.givenUp && a.op != redlock.OpRelease {
		if !a.first {
			return true
		}
		unknown = true
	}
	switch a.op {
	case redlock.OpAcquire:
		aside := s.aside && s.owner == "" && a.vote.Holder == ""
		s.aside = s.aside || a.place.Waiter != ""
		switch {
		case !unknown && !a.vote.Granted && (aside || partial(a.vote.Holder)):
			return true
		case s.owner == "" && !strings.Contains(s.over, a.owner):
			if !unknown && (!a.vote.Granted || a.vote.Fence <= s.floor || a.vote.Fence < a.hint) {
				return false
			}
			s.owner, s.fence = a.owner, a.vote.Fence
		case mine:
			if !unknown && (!a.vote.Granted || s.fence != 0 && s.fence != a.vote.Fence || a.vote.Fence <= s.floor && s.fence == 0) {
				return false
			}
			s.fence = max(s.fence, a.vote.Fence)
		default:
			return unknown || !a.vote.Granted && (a.vote.Holder == "" || a.vote.Holder == s.owner)
		}
		s.floor = max(s.floor, s.fence)
		return unknown || a.vote.Counter >= s.floor
	case redlock.OpConfirm, redlock.OpExtend:
		stands := mine && (s.fence == a.fence || s.fence == 0)
		if stands && a.op == redlock.OpConfirm {
			s.floor = max(s.floor, a.token)
		}
		return unknown || a.vote.Granted == stands
	case redlock.OpRelease:
		if mine {
			s.owner, s.fence = "", 0
		}
		if !strings.Contains(s.over, a.owner) {
			s.over += a.owner
		}
		return true
	}
	return unknown || a.state.Held == (s.owner != "") && a.state.Owner == s.owner
}
