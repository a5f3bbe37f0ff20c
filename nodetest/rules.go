package nodetest

import "fmt"

// rule is a sentence of redlock's documentation and the cases that test it.
type rule struct {
	name  string // of the subtest
	where string // the rule's number, or the name whose documentation it is in
	text  string // word for word, without the brackets of links
	cases []testCase
}

// testCase is one subtest of a rule.
type testCase struct {
	name  string
	run   func(*check)
	alone bool // it disturbs the server, so no other case runs meanwhile
}

func (r rule) String() string { return fmt.Sprintf("%s: %q", r.where, r.text) }

// rules has the contract of redlock.Node, then what else a node's documentation
// promises. A test compares the texts with the source.
var rules = []rule{
	{
		name: "1_exclusive", where: "rule 1",
		text:  "Exclusive: at most one owner holds a key on a node at any instant of the node's own clock.",
		cases: exclusiveCases,
	}, {
		name: "2_long_enough", where: "rule 2",
		text: "Long enough: a grant stays in force for at least the TTL asked, from when it was made, " +
			"unless it is released. Nothing shortens a grant: a later acquire or extend with a smaller " +
			"TTL leaves the longer one. TTLs are rounded up.",
		cases: longEnoughCases,
	}, {
		name: "3_idempotent", where: "rule 3",
		text:  "Idempotent: an acquire by the owner that already holds is granted again with the same fence.",
		cases: idempotentCases,
	}, {
		name: "4_fenced", where: "rule 4",
		text: "Fenced: every grant has a fence larger than every fence and every confirmed token the " +
			"node ever had for that key, and at least the hint, as far as HintHorizon allows: " +
			"max(previous+1, hint).",
		cases: fencedCases,
	}, {
		name: "5_conditional", where: "rule 5",
		text: "Conditional: confirm and extend act only if that very grant, owner and fence both, still " +
			"stands, and are refused otherwise. Neither creates a grant. A confirm raises the key's " +
			"counter to the token.",
		cases: conditionalCases,
	}, {
		name: "6_final", where: "rule 6",
		text: "Final: once a release of an owner was handled, an acquire of that owner that arrives later " +
			"is refused. A release of what is not held succeeds and frees nobody else's grant.",
		cases: finalCases,
	}, {
		name: "7_telling", where: "rule 7",
		text:  "Telling: a refused acquire says who holds, for how much longer, and the key's counter.",
		cases: tellingCases,
	}, {
		name: "8_bounded", where: "rule 8",
		text: "Bounded: an error means that the outcome is unknown. A call ends when its context does, " +
			"whatever the server or the driver does.",
		cases: boundedCases,
	}, {
		name: "9_honest_about_memory", where: "rule 9",
		text: "Honest about memory: a node that may have lost grants says with each vote how long ago " +
			"that was (Vote.Age). It is not counted until every grant that it may have lost has expired.",
		cases: honestCases,
	}, {
		name: "keys", where: "MaxKeyLength",
		text: "MaxKeyLength is the length in bytes of the longest key. Keys are byte strings: any byte " +
			"is allowed in them, and only the empty key is refused.",
		cases: keyCases,
	}, {
		name: "name", where: "Node.Name",
		text: "Name tells the node from the others in errors, events and logs, such as \"127.0.0.1:6379/0\". " +
			"It never holds a credential and never changes.",
		cases: nameCases,
	}, {
		name: "inspect", where: "Node.Inspect",
		text: "Inspect reads the key's state and changes nothing. The node leaves NodeState.Node, Err and " +
			"Latency empty: they are the Locker's to fill.",
		cases: inspectCases,
	}, {
		name: "clock", where: "Vote.Clock",
		text: "Clock is the node's own clock as it handled the request; zero if it has none to show. " +
			"It is compared only with its own earlier readings. A refusal may show what it was in answer to an earlier request; " +
			"ClockBefore is how long before this one that was sent.",
		cases: clockCases,
	}, {
		name: "concurrent", where: "Node",
		text: "All methods are safe for concurrent use. Requests of one caller may arrive in any order, " +
			"late, or twice.",
		cases: concurrentCases,
	}, {
		name: "queue", where: "Waker",
		text: "Waker is a Node that keeps a queue for each key (see Place) and can tell a waiter that its " +
			"turn may have come. Both are hints: they may be late, missing or spurious, so that waiters " +
			"ask by themselves now and then.",
		cases: queueCases,
	},
}
