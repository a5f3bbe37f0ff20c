package nodetest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/quorumlock/redlock"
)

// The judge of histories finds what breaks the rules, and nothing else.
func TestJudge(t *testing.T) {
	const a, b = "a0000000000000000000000000000000", "b0000000000000000000000000000000"
	lost := errors.New("lost")
	acquire := func(owner string, call, end int64, fence uint64) *act {
		v := redlock.Vote{Granted: fence != 0, Fence: fence, Counter: fence}
		return &act{op: redlock.OpAcquire, owner: owner, first: true, call: call, end: end, vote: v}
	}
	refused := func(owner, holder string, call, end int64) *act {
		return &act{op: redlock.OpAcquire, owner: owner, first: true, call: call, end: end, vote: redlock.Vote{Holder: holder}}
	}
	failed := func(owner string, call int64) *act {
		return &act{op: redlock.OpAcquire, owner: owner, first: true, call: call, err: lost}
	}
	confirm := func(owner string, call, end int64, fence, token uint64, yes bool) *act {
		return &act{op: redlock.OpConfirm, owner: owner, call: call, end: end, fence: fence, token: token, vote: redlock.Vote{Granted: yes}}
	}
	release := func(owner string, call, end int64) *act {
		return &act{op: redlock.OpRelease, owner: owner, call: call, end: end}
	}
	inspect := func(owner string, call, end int64) *act {
		return &act{call: call, end: end, state: redlock.NodeState{Held: owner != "", Owner: owner}}
	}
	for name, tc := range map[string]struct {
		acts  []*act
		legal bool
	}{
		"one after the other":             {[]*act{acquire(a, 1, 2, 5), release(a, 3, 4), acquire(b, 5, 6, 6), inspect(b, 7, 8)}, true},
		"two at once":                     {[]*act{acquire(a, 1, 2, 5), acquire(b, 3, 4, 6)}, false},
		"released meanwhile":              {[]*act{acquire(a, 1, 2, 5), release(a, 3, 6), acquire(b, 4, 5, 6)}, true},
		"released too late":               {[]*act{acquire(a, 1, 2, 5), acquire(b, 3, 4, 6), release(a, 5, 6)}, false},
		"a fence twice":                   {[]*act{acquire(a, 1, 2, 5), release(a, 3, 4), acquire(b, 5, 6, 5)}, false},
		"a fence below a token":           {[]*act{acquire(a, 1, 2, 5), confirm(a, 3, 4, 5, 9, true), release(a, 5, 6), acquire(b, 7, 8, 9)}, false},
		"above a token that was refused":  {[]*act{acquire(a, 1, 2, 5), confirm(a, 3, 4, 6, 9, false), release(a, 5, 6), acquire(b, 7, 8, 9)}, true},
		"a confirm of another grant":      {[]*act{acquire(a, 1, 2, 5), confirm(a, 3, 4, 4, 5, true)}, false},
		"a confirm that is refused":       {[]*act{acquire(a, 1, 2, 5), confirm(a, 3, 4, 5, 5, false)}, false},
		"that, as it is being released":   {[]*act{acquire(a, 1, 2, 5), confirm(a, 3, 6, 5, 5, false), release(a, 4, 7)}, true},
		"refused by nobody":               {[]*act{refused(a, "", 1, 2)}, false},
		"refused, released, and seen":     {[]*act{refused(a, "", 1, 6), refused(b, a, 2, 3), release(a, 4, 5), inspect("", 7, 8)}, true},
		"refused by the next":             {[]*act{refused(a, b, 1, 8), inspect(a, 2, 3), release(a, 4, 5), acquire(b, 6, 7, 9)}, true},
		"refused, and released later":     {[]*act{refused(a, "", 1, 6), inspect(a, 2, 3), release(a, 4, 7), inspect("", 8, 9)}, true},
		"refused before that":             {[]*act{refused(a, "", 1, 4), refused(b, a, 2, 3), release(a, 5, 6)}, false},
		"refused after the release":       {[]*act{refused(a, "", 1, 4), release(a, 2, 3)}, true},
		"refused by the holder":           {[]*act{acquire(a, 1, 2, 5), refused(b, a, 3, 4)}, true},
		"refused by one who has released": {[]*act{acquire(a, 1, 2, 5), release(a, 3, 4), refused(b, a, 5, 6)}, false},
		"refused by one in between":       {[]*act{refused(a, "connection 7", 1, 2)}, true},
		"a late acquire":                  {[]*act{release(a, 1, 2), acquire(a, 3, 4, 5)}, false},
		"failed, and held":                {[]*act{failed(a, 1), inspect(a, 3, 4)}, true},
		"failed, and not held":            {[]*act{failed(a, 1), inspect("", 3, 4)}, true},
		"failed, and held for some time":  {[]*act{failed(a, 1), inspect(a, 3, 4), release(a, 5, 6), inspect("", 7, 8)}, true},
		"failed, and held when released":  {[]*act{failed(a, 1), release(a, 5, 6), inspect(a, 7, 8)}, false},
		"released, and held":              {[]*act{acquire(a, 1, 2, 5), release(a, 3, 4), inspect(a, 5, 6)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{acts: tc.acts}
			h.position.Store(100)
			for _, a := range tc.acts {
				a.key = h.key(0)
			}
			problem := h.judge(0)
			assert.Equal(t, tc.legal, problem == "", problem)
		})
	}
}

// An inspection that comes in the middle of an acquire or a release is made again.
func TestHistoriesLookAtWhatIsSettled(t *testing.T) {
	h := &history{name: "round"}
	n := &busy{looks: 3}
	inspection := h.do(n, &act{key: h.key(0)})
	inspection.wait()
	assert.Zero(t, n.looks)
	assert.Empty(t, inspection.state.Owner)
}

// busy is in the middle of something for so many inspections.
type busy struct {
	redlock.Node
	looks int
}

func (b *busy) Inspect(context.Context, string) (redlock.NodeState, error) {
	if b.looks == 0 {
		return redlock.NodeState{}, nil
	}
	b.looks--
	return redlock.NodeState{Held: true, Owner: "connection 7"}, nil
}

// A server that answers nobody breaks no rule, and passes no test.
func TestHistoriesNeedAnswers(t *testing.T) {
	h := &history{acts: []*act{
		{op: redlock.OpAcquire, owner: "a", err: errors.New("lost")},
		{op: redlock.OpRelease, owner: "a", err: errors.New("no such table")},
	}}
	assert.Contains(t, h.unanswered(), "release: no such table")
	h.acts[1].err = nil
	assert.Empty(t, h.unanswered())
}
