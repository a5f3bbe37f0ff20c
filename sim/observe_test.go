package sim

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at is a deed of a client on the key k.
func at(ms int, kind DeedKind, client int, lease, token uint64, until int) Deed {
	return Deed{At: time.Duration(ms) * time.Millisecond, Kind: kind, Client: client, Key: "k", Lease: lease, Token: token,
		Until: time.Duration(until) * time.Millisecond}
}

// twoHoldersAfter is a history of two holders at one time, after a fault.
func twoHoldersAfter(fault string) []Deed {
	return []Deed{
		at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), {At: 15 * time.Millisecond, Kind: Strikes, Fault: fault},
		at(20, Asks, 1, 2, 0, 0), at(30, Takes, 1, 2, 101, 1030),
	}
}

// A history of real programs is judged by the checkers of the simulator.
func TestJudge(t *testing.T) {
	turns := []Deed{
		at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), at(20, Writes, 0, 1, 100, 0), at(50, Unlocks, 0, 1, 0, 0),
		at(5, Asks, 1, 2, 0, 0), at(60, Takes, 1, 2, 101, 1060), at(90, Unlocks, 1, 2, 0, 0),
	}
	for name, tc := range map[string]struct {
		history []Deed
		verdict Verdict
		breaks  Invariant
	}{
		"turns": {turns, Safe, 0},
		"two holders": {[]Deed{
			at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), at(20, Asks, 1, 2, 0, 0), at(30, Takes, 1, 2, 101, 1030),
		}, Violated, Exclusion},
		"a renewal into another's lease": {[]Deed{
			at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 100), at(20, Asks, 1, 2, 0, 0),
			at(110, Takes, 1, 2, 101, 1030), at(120, Renews, 0, 1, 0, 2000),
		}, Violated, Exclusion},
		"a lease that ran out": {[]Deed{
			at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 100), at(20, Asks, 1, 2, 0, 0), at(101, Takes, 1, 2, 101, 1030),
		}, Safe, 0},
		"a client that died": {[]Deed{
			at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), {At: 15 * time.Millisecond, Kind: Dies},
			at(20, Asks, 1, 2, 0, 0), at(30, Takes, 1, 2, 101, 1030),
		}, Safe, 0},
		"a token that is no larger": {[]Deed{
			at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), at(20, Unlocks, 0, 1, 0, 0),
			at(30, Asks, 1, 2, 0, 0), at(40, Takes, 1, 2, 100, 1040),
		}, Violated, Tokens},
		"a stale write that is taken": {append(turns[:len(turns):len(turns)],
			Deed{At: 70 * time.Millisecond, Kind: Arrives, Client: 1, Key: "k", Lease: 2, Token: 101, Fenced: true},
			Deed{At: 80 * time.Millisecond, Kind: Arrives, Client: 0, Key: "k", Lease: 1, Token: 100, Fenced: true}), Violated, Fencing},
		"a stale write that is refused": {append(turns[:len(turns):len(turns)],
			Deed{At: 70 * time.Millisecond, Kind: Arrives, Client: 1, Key: "k", Lease: 2, Token: 101, Fenced: true},
			Deed{At: 80 * time.Millisecond, Kind: Arrives, Client: 0, Key: "k", Lease: 1, Token: 100}), UnsafeUnfenced, 0},
		"a loss":                              {append(turns[:len(turns):len(turns)], at(100, Asks, 0, 3, 0, 0), at(110, Takes, 0, 3, 103, 200), at(150, Loses, 0, 3, 0, 0)), Unavailable, 0},
		"a leftover":                          {append(turns[:len(turns):len(turns)], Deed{At: time.Second, Kind: Remains, Key: "k", Text: "n1 keeps k"}), Violated, Leftovers},
		"starving":                            {append(turns[:len(turns):len(turns)], Deed{At: time.Second, Kind: Starves, Key: "k", Text: "c1 starves"}), Violated, Liveness},
		"two holders after a flush":           {twoHoldersAfter("at 0s flush n1"), UnsafeUnfenced, Exclusion},
		"two holders after connections broke": {twoHoldersAfter("at 0s reset c1-n3"), UnsafeUnfenced, Exclusion},
		"two holders after an idle connection was dropped":                       {twoHoldersAfter("at 0s idle c1-n3 by 50ms for 600ms"), UnsafeUnfenced, Exclusion},
		"two holders after an idle connection was dropped that carries no locks": {twoHoldersAfter("at 0s idle c1-n1 by 50ms for 600ms"), Violated, Exclusion},
		"two holders after connections broke that carry no locks":                {twoHoldersAfter("at 0s reset c1-n1"), Violated, Exclusion},
	} {
		t.Run(name, func(t *testing.T) {
			kinds := []Kind{TTLServer, TTLServer, SessionLock}
			r := Judge(Config{Nodes: 3, Clients: 2, Kinds: kinds, TTL: time.Second, Record: true}, 0, tc.history)
			require.Equal(t, tc.verdict, r.Verdict, "%v", r.Violations)
			if tc.breaks != 0 {
				require.NotNil(t, r.Broken())
				assert.Equal(t, tc.breaks, r.Broken().Invariant)
			}
			ok, known := r.Linearizable(time.Minute)
			assert.True(t, known)
			assert.Equal(t, tc.breaks != Exclusion && tc.breaks != Tokens, ok, "porcupine agrees")
			var page bytes.Buffer
			require.NoError(t, r.WriteHTML(&page, name, ""))
			assert.Contains(t, page.String(), "<svg")
		})
	}
}

// Keys have nothing to do with one another.
func TestJudgeKeepsKeysApart(t *testing.T) {
	history := []Deed{
		at(0, Asks, 0, 1, 0, 0), at(10, Takes, 0, 1, 100, 1000), at(20, Asks, 1, 2, 0, 0), at(30, Takes, 1, 2, 50, 1030),
	}
	history[2].Key, history[3].Key = "other", "other"
	r := Judge(Config{Nodes: 3, Clients: 2, TTL: time.Second}, 0, history)
	assert.Equal(t, Safe, r.Verdict, "%v", r.Violations)
	assert.Equal(t, 2, r.Stats.Acquired)
}

// Both worlds have the same faults; those of connections change nothing here.
func TestFaultsOfRealServers(t *testing.T) {
	r := Run(Config{Nodes: 3, Clients: 2, TTL: 2 * time.Second, HealAt: 10 * time.Second, Kinds: []Kind{TTLServer, SessionLock, EphemeralNode},
		Work: Work{Hold: 100 * time.Millisecond, Think: 10 * time.Millisecond, WriteEvery: 10 * time.Millisecond},
		Faults: faults(t, "at 1s reset c1-n2", "at 1s shake c*-n* by 5ms for 2s", "at 2s flush n1", "at 2s full n2 for 1s", "at 3s expire c1-n3",
			"at 4s idle c*-n2 by 100ms for 1s", "at 4s slice c*-n1 by 3B for 1s", "at 5s throttle n1->c* by 2000B for 1s")})
	assert.NotEqual(t, Violated, r.Verdict, "%v", r.Violations)
	assert.Equal(t, 8, r.Stats.Faults)
	for _, f := range r.Config.Faults {
		again, err := ParseFault(f.String())
		require.NoError(t, err)
		assert.Equal(t, f, again)
	}
}

// A session lock goes with the connection that has it, and that is outside the
// assumptions; other grants do not.
func TestResetEndsSessionLocks(t *testing.T) {
	for kind, want := range map[Kind]Verdict{SessionLock: UnsafeUnfenced, TTLServer: Safe} {
		r := Run(Config{Nodes: 3, Clients: 2, TTL: 10 * time.Second, HealAt: 20 * time.Second, Kinds: []Kind{kind}, NoRenew: true,
			Plans:  []Work{{Hold: 8 * time.Second, WriteEvery: 100 * time.Millisecond, Times: 1, Exact: true}, {Start: time.Second, Hold: 4 * time.Second, WriteEvery: 100 * time.Millisecond, Times: 1, Exact: true}},
			Faults: faults(t, "at 3s reset c1-n1", "at 3s reset c1-n2")})
		assert.Equal(t, want, r.Verdict, "%v: %v", kind, r.Violations)
	}
}
