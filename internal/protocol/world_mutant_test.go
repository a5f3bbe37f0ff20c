package protocol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A checker that has never caught anything proves nothing. Each mutant is a
// mistake that somebody has made; some world must break on it, by the rule that
// it offends.
func TestMutantsAreCaught(t *testing.T) {
	for _, m := range []struct {
		name   string
		mutant mutant
		rules  string // any of them
	}{
		{"a failed acquire counts as a grant", mutant{vote: func(at *worldAttempt, in *Input) {
			if in.Op == Acquire && in.Vote.Outcome == Unknown {
				in.Vote = Vote{Outcome: Granted, Fence: max(1, at.client.world.checker.lastToken)}
			}
		}}, "exclusion, token order, token stored, validity"},
		{"one vote less than a majority", mutant{plan: func(p *plan) {
			p.cfg.Quorum = max(1, p.cfg.Quorum-1)
		}}, "exclusion, token order, token stored, validity"},
		{"no allowance for drift", mutant{plan: func(p *plan) {
			p.cfg.DriftPPM, p.cfg.NoRenew, p.setBacks = 0, true, 0
		}, noGuards: true}, "exclusion, validity"},
		{"tokens are not confirmed", mutant{fake: func(_ *worldAttempt, out Output) *Vote {
			if out.Request.Op != Confirm {
				return nil
			}
			return &Vote{Outcome: Granted}
		}}, "token order, token stored"},
		{"nodes that forgot everything vote at once", mutant{plan: func(p *plan) {
			p.restarts = 20
		}, noGuards: true}, "exclusion, token order, validity"},
		{"validity counts from the last answer", mutant{until: func(at *worldAttempt, until Instant) Instant {
			return until.Add(at.client.now().Sub(at.started))
		}}, "exclusion, validity, resurrection"},
		{"a refused extend counts", mutant{vote: func(_ *worldAttempt, in *Input) {
			if in.Op == Extend && in.Vote.Outcome == Refused {
				in.Vote.Outcome = Granted
			}
		}}, "exclusion, validity, resurrection"},
		{"an extend that was not answered counts", mutant{vote: func(_ *worldAttempt, in *Input) {
			if in.Op == Extend && in.Vote.Outcome == Unknown {
				in.Vote.Outcome = Granted
			}
		}}, "exclusion, validity, resurrection"},
		{"only nodes that granted get a release", mutant{mute: func(at *worldAttempt, out Output) bool {
			return out.Request.Op == Release && at.outcomes[out.Node] != Granted
		}}, "left behind"},
		{"barred votes are taken for refusals", mutant{plan: func(p *plan) {
			p.restarts = 20
		}, vote: func(_ *worldAttempt, in *Input) {
			if in.Vote.Outcome == Barred {
				in.Vote.Outcome = Refused
			}
		}}, "left behind"},
		{"nodes forget who released", mutant{noTombs: true}, "left behind"},
	} {
		t.Run(m.name, func(t *testing.T) { catch(t, m.mutant, m.rules) })
	}
}

// Each defence that can be left out is there for something. What the guards of
// clocks and aliases are for is told in guard_test.go: no clock here leaps, and no
// node is there twice. Without its margin, the former would bar honest drift.
func TestEveryDefenceIsNeeded(t *testing.T) {
	for _, d := range []struct {
		name    string
		defence Defence
		plan    func(*plan)
		rules   string // any of them
	}{
		{"DriftMargin", DriftMargin | ClockGuard, nil, "exclusion, validity"},
		{"CountFromSending", CountFromSending, nil, "exclusion, validity"},
		{"UnknownIsNoVote", UnknownIsNoVote, nil, "exclusion, token order, token stored, validity"},
		{"ConfirmToken", ConfirmToken, nil, "token order, token stored"},
		{"NoHigherGrants", NoHigherGrants, nil, "token order, token stored"},
		{"CheckAtHandover", CheckAtHandover, func(p *plan) { p.pauses = 30 }, "handover, endless"},
		{"EndForGood", EndForGood, func(p *plan) { p.pauses = 30 }, "resurrection, exclusion, validity, endless"},
		{"ReleaseUnknown", ReleaseUnknown, nil, "left behind"},
		{"RestartGuard", RestartGuard, func(p *plan) { p.restarts = 20 }, "exclusion, token order, validity"},
	} {
		t.Run(d.name, func(t *testing.T) {
			catch(t, mutant{plan: func(p *plan) {
				p.cfg.Without = d.defence
				if d.plan != nil {
					d.plan(p)
				}
			}}, d.rules)
		})
	}
}

// catch runs worlds until one notices.
func catch(t *testing.T, m mutant, rules string) {
	t.Helper()
	const most = 400
	for seed := range uint64(most) {
		w := newWorld(seed, m)
		broken := w.run()
		if broken == "" {
			continue
		}
		rule, _, _ := strings.Cut(broken, ":")
		require.Contains(t, rules, rule, broken)
		t.Logf("caught by seed %d after %d events: %s", seed, w.events, broken)
		return
	}
	t.Fatalf("%d worlds did not notice", most)
}
