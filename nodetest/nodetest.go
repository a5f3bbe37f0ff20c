// Package nodetest proves that a [redlock.Node] keeps its contract. A package
// that implements one calls Run in a test of its own:
//
//	func TestContract(t *testing.T) {
//		nodetest.Run(t, func(t *testing.T) redlock.Node {
//			return mynode.New(startServer(t))
//		})
//	}
//
// Each rule of the contract has a subtest, and each failure quotes the rule that
// was broken. Linearizable looks at all of them together, with several clients of a
// server, and on connections that break.
package nodetest

import (
	"testing"
	"time"

	"github.com/quorumlock/redlock"
)

// Option fits the kit to a node.
type Option func(*config)

// config is what the options set.
type config struct {
	sleep    func(time.Duration) // nil: real time
	restart  func(*testing.T, redlock.Node)
	freeze   func(*testing.T, redlock.Node) (thaw func())
	grain    time.Duration
	patience time.Duration // how soon a call must end after its context
}

// Sleep sets how time passes, for nodes on a clock of their own: with a
// redlock.ManualClock it is Sleep(clock.Advance). The kit then takes it that
// the node's time passes in these calls only, and runs its cases one by one.
// Without this option the node's time is the real one.
func Sleep(sleep func(time.Duration)) Option {
	return func(c *config) { c.sleep = sleep }
}

// Restart sets how the server behind the node is restarted without the data that
// it would lose in a crash; for one that is durable, that is none. The function
// returns when the server is, or soon will be, up again. Without this option
// rule 9 is tested only as far as a server that goes on can show it.
func Restart(restart func(t *testing.T, n redlock.Node)) Option {
	return func(c *config) { c.restart = restart }
}

// Freeze sets how the server behind the node is made to answer nobody, as by
// SIGSTOP, until thaw is called. Without this option rule 8 is tested only as
// far as a server that answers can show it.
func Freeze(freeze func(t *testing.T, n redlock.Node) (thaw func())) Option {
	return func(c *config) { c.freeze = freeze }
}

// Grain is the coarsest unit in which the node counts TTLs. Default 1 ms.
func Grain(grain time.Duration) Option {
	return func(c *config) { c.grain = grain }
}

// Run tests a node against the contract of redlock.Node: a subtest for each
// rule, and some for what stands elsewhere in its documentation.
//
// The factory is called once a case, by several goroutines at a time. The nodes
// it returns may be new, or all the same one, or be on one server: each case
// uses keys of its own. What has to be closed is closed in t.Cleanup. With a real
// server the cases take a few seconds; those that restart or freeze it run
// alone.
func Run(t *testing.T, factory func(t *testing.T) redlock.Node, opts ...Option) {
	t.Helper()
	cfg := config{grain: time.Millisecond, patience: 5 * time.Second}
	for _, opt := range opts {
		opt(&cfg)
	}
	for _, r := range rules {
		// A rule's own subtest is not parallel: it ends when its cases have
		// ended, and so does Run before the caller closes its server.
		t.Run(r.name, func(t *testing.T) {
			for _, tc := range r.cases {
				t.Run(tc.name, func(t *testing.T) {
					if cfg.sleep == nil && !tc.alone {
						t.Parallel()
					}
					tc.run(&check{T: t, rule: r, cfg: &cfg, node: factory(t)})
				})
			}
		})
	}
}
