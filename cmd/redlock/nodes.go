package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/internal/protocol"
)

func newNodesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show whether the nodes answer and may vote",
		Long: `nodes asks every node about itself and shows whether it votes, how long an
answer takes, what server it is, how far its clock is off this machine's, and
whether it keeps its locks over a restart.

A node is young if it may have lost locks less than --max-ttl ago, which a server
that keeps its data in memory has whenever it starts. Its holders may still be at
work, so it does not vote until every lock it may have forgotten is over. Wait
that long, once. If the server keeps every lock over a restart (for Redis:
appendonly yes and appendfsync always), say so in its URL, ?durable=true, and it
votes at once. Do not say so if it is not true: two could then hold one lock.

A node that refuses can be reached, but answers with an error: it wants other
credentials, or rights or tables that are missing. What rights are needed, such as
those of a Redis ACL, is listed by "go doc github.com/quorumlock/redlock/redisnode",
and for the other servers with mysqlnode or zknode instead.

A MySQL node keeps its locks in tables, which --init creates where they are
missing, once, with a user that may CREATE. Nothing else ever creates them.

The clocks need not agree: they only have to run at about the same speed. OFFSET
is known to half an answer's time.

` + settingsHint + `
Exit status:
  0    a majority of the nodes votes
  64   bad usage or configuration
  69   fewer do, or --init failed for one
  70   an internal error, or output that cannot be written`,
		Example: `  redlock nodes -n redis://10.0.0.1 -n redis://10.0.0.2 -n redis://10.0.0.3
  redlock nodes --json | jq '.node_infos[] | select(.voting | not)'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("nodes takes no arguments: name the nodes with --node URL")
			}
			return nil
		},
	}
	s := addFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	create := cmd.Flags().Bool("init", false, "first create the tables that nodes need and do not have (MySQL)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		sess, err := s.open(cmd, nil)
		if err != nil {
			return err
		}
		defer sess.close()
		if *create {
			if err := s.initNodes(cmd.Context(), sess.nodes); err != nil {
				return err
			}
		}
		view := s.survey(cmd.Context(), sess.nodes)
		show := view.print
		if *asJSON {
			show = func(out io.Writer) error { return printJSON(out, view) }
		}
		failed := show(cmd.OutOrStdout())
		if view.Voting < view.Quorum {
			return withFailure(&exitError{status: exitNoQuorum}, failed)
		}
		return failed
	}
	return cmd
}

// initNodes has the nodes create what they need on their servers. It tries all of
// them before it tells of those that failed.
func (s *settings) initNodes(ctx context.Context, nodes []redlock.Node) error {
	ctx, cancel := redlock.SystemClock().WithTimeout(ctx, initTimeout)
	defer cancel()
	var failed []error
	for _, n := range nodes {
		if node, ok := n.(interface{ Init(context.Context) error }); ok {
			if err := node.Init(ctx); err != nil {
				failed = append(failed, err)
			}
		}
	}
	if len(failed) > 0 {
		return &exitError{status: exitNoQuorum, err: errors.Join(failed...)}
	}
	return nil
}

// initTimeout is ample for creating tables on a few busy servers.
const initTimeout = 30 * time.Second

// surveyView is what nodes shows, as its JSON has it.
type surveyView struct {
	Nodes   int            `json:"nodes"`
	Quorum  int            `json:"quorum"`
	Voting  int            `json:"voting"`
	PerNode []nodeInfoView `json:"node_infos"`
}

// nodeInfoView is what is known of one node.
type nodeInfoView struct {
	Node       string   `json:"node"`
	Reachable  bool     `json:"reachable"`
	Refuses    bool     `json:"refuses,omitempty"` // it can be reached, and answers with an error
	Voting     bool     `json:"voting"`
	VotesInMS  float64  `json:"votes_in_ms,omitempty"` // of a young node
	Error      string   `json:"error,omitempty"`
	LatencyMS  float64  `json:"latency_ms"`
	Kind       string   `json:"kind,omitempty"`
	Version    string   `json:"version,omitempty"`
	Durable    bool     `json:"durable"`
	AgeMS      float64  `json:"age_ms"`
	OffsetMS   *float64 `json:"clock_offset_ms,omitempty"`
	OffsetErr  *float64 `json:"clock_offset_error_ms,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
	young      bool
	votesIn    time.Duration
	latency    time.Duration
	offset     time.Duration
	probed     bool
	knowsClock bool
}

// visit is what one node answered, and when.
type visit struct {
	state          redlock.NodeState
	err            error
	sent, answered time.Duration // on this machine's clock
	wall           time.Time     // when it was sent
	info           redlock.NodeInfo
	probed         bool
	probeErr       error
}

// survey asks all nodes at once. A server may take several round trips to tell
// of itself, the connection included.
func (s *settings) survey(ctx context.Context, nodes []redlock.Node) *surveyView {
	ctx, cancel := redlock.SystemClock().WithTimeout(ctx, max(surveyTimeout, 4*s.nodeTimeout))
	defer cancel()
	visits := make([]visit, len(nodes))
	var calls errgroup.Group
	for i, n := range nodes {
		calls.Go(func() error {
			visits[i] = call(ctx, n)
			return nil
		})
	}
	_ = calls.Wait() // errors are in the visits

	cfg := &protocol.Config{Nodes: len(nodes), MaxTTL: s.maxTTL, DriftPPM: int64(s.drift * 1e6)}
	guards := protocol.NewGuards(cfg)
	view := &surveyView{Nodes: len(nodes), Quorum: protocol.Majority(len(nodes))}
	for i, v := range visits {
		n := newNodeInfoView(nodes[i].Name(), &v)
		if n.answers() {
			n.admit(&guards, nodes, i, &v)
		}
		if n.Voting {
			view.Voting++
		}
		view.PerNode = append(view.PerNode, n)
	}
	return view
}

const surveyTimeout = time.Second

// surveyKey is only looked at. Any key would do.
const surveyKey = "redlock-nodes"

// call asks one node. The first question makes the connection; the second
// measures.
func call(ctx context.Context, n redlock.Node) visit {
	clock := redlock.SystemClock()
	var v visit
	for range 2 {
		v.wall, v.sent = clock.Wall(), clock.Now()
		v.state, v.err = n.Inspect(ctx, surveyKey)
		v.answered = clock.Now()
		if v.err != nil {
			return v
		}
	}
	if p, ok := n.(redlock.Prober); ok {
		v.info, v.probeErr = p.Probe(ctx)
		v.probed = v.probeErr == nil
	}
	return v
}

func newNodeInfoView(name string, v *visit) nodeInfoView {
	n := nodeInfoView{Node: name, latency: v.answered - v.sent}
	n.LatencyMS = milliseconds(n.latency)
	if v.err != nil {
		n.Refuses, n.Error = refused(v.err), nodeError(name, v.err)
		n.Reachable = n.Refuses
		return n
	}
	n.Reachable = true
	n.AgeMS = milliseconds(v.state.Age)
	n.Durable = v.state.Age == 0
	if v.probed {
		n.probed = true
		n.Kind, n.Version, n.Durable, n.Warnings = v.info.Kind, v.info.Version, v.info.Durable, v.info.Warnings
	} else if v.probeErr != nil {
		n.Warnings = []string{"it does not tell of itself: " + nodeError(name, v.probeErr)}
	}
	if !v.state.Clock.IsZero() {
		half := n.latency / 2
		n.knowsClock, n.offset = true, v.state.Clock.Sub(v.wall.Add(half))
		offset, plusMinus := milliseconds(n.offset), milliseconds(half)
		n.OffsetMS, n.OffsetErr = &offset, &plusMinus
	}
	return n
}

// admit asks the guards that a Locker has whether the node's votes would count.
func (n *nodeInfoView) admit(guards *protocol.Guards, nodes []redlock.Node, i int, v *visit) {
	facts := protocol.Facts{Incarnation: v.state.Incarnation, Age: v.state.Age}
	bar, wait, other := guards.Admit(i, protocol.Instant(v.sent), protocol.Instant(v.answered), facts)
	switch bar {
	case protocol.NotBarred:
		n.Voting = true
	case protocol.Young:
		n.young, n.votesIn, n.VotesInMS = true, wait, milliseconds(wait)
	default:
		n.Error = "is the same server as node " + nodes[other].Name()
	}
}

// answers says that the node does what it is asked.
func (n *nodeInfoView) answers() bool { return n.Reachable && !n.Refuses }

func (n *nodeInfoView) status() string {
	switch {
	case n.Refuses:
		return "refuses"
	case !n.Reachable:
		return "unreachable"
	case n.Voting:
		return "voting"
	case n.young:
		return "young, votes in " + seconds(n.votesIn)
	}
	return "barred"
}

func (v *surveyView) print(out io.Writer) error {
	w := &strings.Builder{}
	verdict := "a majority votes"
	if v.Voting < v.Quorum {
		verdict = "too few: no lock can be had"
	}
	fmt.Fprintf(w, "%d of %d nodes vote, and it takes %d: %s\n\n", v.Voting, v.Nodes, v.Quorum, verdict)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tSTATUS\tLATENCY\tSERVER\tOFFSET\tDURABLE")
	for i := range v.PerNode {
		n := &v.PerNode[i]
		if !n.answers() {
			fmt.Fprintf(t, "%s\t%s\t-\t-\t-\t-\n", n.Node, n.status())
			continue
		}
		server, offset, durable := "-", "-", "no"
		if n.probed {
			server = n.Kind + " " + n.Version
		}
		if n.knowsClock {
			offset = fmt.Sprintf("%+.1fms", milliseconds(n.offset))
		}
		if n.Durable {
			durable = "declared"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, n.status(), short(n.latency), server, offset, durable)
	}
	_ = t.Flush() // to memory
	v.printNotes(w)
	_, err := io.WriteString(out, w.String())
	return err
}

// printNotes says what a table has no room for.
func (v *surveyView) printNotes(w io.Writer) {
	for _, n := range v.PerNode {
		notes := n.Warnings
		if n.Error != "" {
			notes = append([]string{n.Error}, notes...)
		}
		for _, note := range notes {
			fmt.Fprintf(w, "\n%s: %s", n.Node, note)
		}
	}
	if slices.ContainsFunc(v.PerNode, func(n nodeInfoView) bool { return n.Error != "" || len(n.Warnings) > 0 }) {
		fmt.Fprintln(w)
	}
	if slices.ContainsFunc(v.PerNode, func(n nodeInfoView) bool { return n.young }) {
		fmt.Fprint(w, "\n"+youngHelp)
	}
}

const youngHelp = `A young node has just started and may have forgotten locks whose holders are
still at work, so it does not vote yet. Wait, or, if its server keeps every lock
over a restart, say so in its URL: ?durable=true. "redlock nodes --help" has more.
`
