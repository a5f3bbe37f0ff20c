package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
)

func newInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect KEY",
		Short: "Show who holds a lock, node by node",
		Long: `inspect asks every node what it knows of KEY and changes nothing. The first line
says what it comes to:

  held by OWNER on 3 of 3 nodes, 8.2s left    a majority says so; it ends then
                                              unless it is renewed, as it is
                                              while its holder lives
  free                                        no node that answered says it is held
  no majority holds it                        someone is taking it, or has lost it
  blocked                                     most nodes have other data in the
                                              lock's place: delete those there
  unknown                                     too few nodes answered

A node that refuses did answer, but with an error: it wants other credentials, or
rights or tables that are missing. "redlock nodes --help" has more.

OWNER is what REDLOCK_OWNER is for a command that runs under the lock. COUNTER is
the largest fencing token that the node has of the key.

What it shows is past when you read it. To act only if the lock is free, take it:
redlock run --try KEY -- COMMAND.

` + settingsHint + `
Exit status:
  0    a majority of the nodes answered
  64   bad usage or configuration
  69   fewer did
  70   an internal error, or output that cannot be written`,
		Example: `  redlock inspect nightly-backup
  redlock inspect nightly-backup --json | jq -r .owner`,
		Args: oneKey,
	}
	s := addFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sess, err := s.open(cmd, nil)
		if err != nil {
			return err
		}
		defer sess.close()
		states, err := sess.locker.Inspect(cmd.Context(), args[0])
		if err != nil && !errors.Is(err, redlock.ErrNoQuorum) {
			return err
		}
		view := newKeyView(args[0], states)
		show := view.print
		if *asJSON {
			show = func(out io.Writer) error { return printJSON(out, view) }
		}
		return withFailure(quiet(err), show(cmd.OutOrStdout()))
	}
	return cmd
}

// oneKey is the arguments of a command that takes a key.
func oneKey(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usageError("no KEY given")
	case len(args) > 1:
		return usageError("one KEY, please, not %d", len(args))
	}
	return checkKey(args[0])
}

func checkKey(key string) error {
	if key == "" {
		return usageError("the KEY is empty")
	}
	if len(key) > redlock.MaxKeyLength {
		return usageError("the KEY has %d bytes: use at most %d", len(key), redlock.MaxKeyLength)
	}
	return nil
}

// quiet is the exit status of an error whose message the output has in detail.
func quiet(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{status: classify(err).status}
}

// keyView is what inspect shows, as its JSON has it.
type keyView struct {
	Key         string          `json:"key"`
	State       string          `json:"state"` // held, free, split, blocked or unknown
	Owner       string          `json:"owner,omitempty"`
	HeldBy      int             `json:"held_by"` // nodes that say Owner holds it
	Nodes       int             `json:"nodes"`
	Quorum      int             `json:"quorum"`
	RemainingMS float64         `json:"remaining_ms"`
	PerNode     []nodeStateView `json:"node_states"`
}

// nodeStateView is one node's answer.
type nodeStateView struct {
	Node        string  `json:"node"`
	State       string  `json:"state"` // held, free, other (what is in the lock's place is none) or error
	Owner       string  `json:"owner,omitempty"`
	Fence       uint64  `json:"fence,omitempty"`
	RemainingMS float64 `json:"remaining_ms"`
	Counter     uint64  `json:"counter"`
	LatencyMS   float64 `json:"latency_ms"`
	Refuses     bool    `json:"refuses,omitempty"` // the error is the server's own
	Error       string  `json:"error,omitempty"`

	remaining, latency time.Duration
}

func newKeyView(key string, states []redlock.NodeState) keyView {
	v := keyView{Key: key, Nodes: len(states), Quorum: len(states)/2 + 1, State: "free"}
	answered, others := 0, 0
	grants := make(map[string][]time.Duration)
	for _, s := range states {
		v.PerNode = append(v.PerNode, newNodeStateView(s))
		if s.Err == nil {
			answered++
		}
		if s.Err == nil && s.Held {
			v.State = "split"
			grants[s.Owner] = append(grants[s.Owner], s.Remaining)
		}
		if isOther(s) {
			others++
		}
	}
	if v.Nodes-others < v.Quorum {
		v.State = "blocked"
	}
	for owner, remaining := range grants {
		if len(remaining) < v.Quorum {
			continue
		}
		// It has a majority until all but Quorum-1 of its grants are over.
		slices.Sort(remaining)
		left := remaining[len(remaining)-v.Quorum]
		v.State, v.Owner, v.HeldBy, v.RemainingMS = "held", owner, len(remaining), milliseconds(left)
	}
	if answered < v.Quorum {
		v.State = "unknown"
	}
	return v
}

// isOther says that a node has somebody's data in the lock's place.
func isOther(s redlock.NodeState) bool { return s.Err == nil && !s.Held && s.Owner != "" }

func newNodeStateView(s redlock.NodeState) nodeStateView {
	v := nodeStateView{Node: s.Node, State: "free", Counter: s.Counter, LatencyMS: milliseconds(s.Latency), latency: s.Latency}
	switch {
	case s.Err != nil:
		v.State, v.Refuses, v.Error = "error", refused(s.Err), nodeError(s.Node, s.Err)
	case s.Held:
		v.State, v.Owner, v.Fence = "held", s.Owner, s.Fence
		v.RemainingMS, v.remaining = milliseconds(s.Remaining), s.Remaining
	case isOther(s):
		v.State, v.Owner = "other", s.Owner
	}
	return v
}

func (v *keyView) sentence() string {
	answered, others := 0, 0
	for _, n := range v.PerNode {
		if n.State != "error" {
			answered++
		}
		if n.State == "other" {
			others++
		}
	}
	missing := ""
	if answered < v.Nodes {
		missing = fmt.Sprintf(" (%d of %d nodes answered)", answered, v.Nodes)
	}
	switch v.State {
	case "held":
		left := time.Duration(v.RemainingMS * float64(time.Millisecond))
		return fmt.Sprintf("held by %s on %d of %d nodes, %s left", v.Owner, v.HeldBy, v.Nodes, seconds(left))
	case "split":
		return "no majority holds it" + missing
	case "blocked":
		return fmt.Sprintf("blocked: %d of %d nodes have something that is no lock in its place%s", others, v.Nodes, missing)
	case "unknown":
		return fmt.Sprintf("unknown: %d of %d nodes answered, and it takes %d", answered, v.Nodes, v.Quorum)
	}
	return "free" + missing
}

func (v *keyView) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\n\n", v.sentence())
	fmt.Fprintln(t, "NODE\tSTATE\tLEFT\tCOUNTER\tLATENCY\tOWNER")
	for _, n := range v.PerNode {
		switch n.State {
		case "error":
			state := "no answer"
			if n.Refuses {
				state = "refuses"
			}
			fmt.Fprintf(t, "%s\t%s\t-\t-\t%s\t%s\n", n.Node, state, short(n.latency), n.Error)
		case "held":
			fmt.Fprintf(t, "%s\theld\t%s\t%d\t%s\t%s\n", n.Node, seconds(n.remaining), n.Counter, short(n.latency), n.Owner)
		case "other":
			fmt.Fprintf(t, "%s\tother data\t-\t%d\t%s\t%s\n", n.Node, n.Counter, short(n.latency), n.Owner)
		default:
			fmt.Fprintf(t, "%s\tfree\t-\t%d\t%s\t-\n", n.Node, n.Counter, short(n.latency))
		}
	}
	return t.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// seconds is a duration as people want to read one that they wait for.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// short is a latency.
func short(d time.Duration) string { return fmt.Sprintf("%.1fms", milliseconds(d)) }
