package sim

import "fmt"

// tellMove puts a move in words.
func tellMove(before, after *tinyWorld, m move) []string {
	c, n := name("c", int(m.client)), name("n", int(m.node))
	switch m.kind {
	case start:
		if hint := after.clients[m.client].hint; hint > 0 {
			return []string{fmt.Sprintf("%s asks all nodes, with hint %d", c, hint)}
		}
		return []string{c + " asks all nodes"}
	case deliver, repeat:
		return tellGrant(before, after, m, c, n)
	case deliverOK:
		return []string{fmt.Sprintf("%s accepts %s's confirm of token %d", n, c, before.wires[m.client][m.node].token)}
	case hear:
		return []string{tellHeard(before, after, m, c)}
	case forget:
		return []string{n + " loses all it knows"}
	}
	return []string{n + " is counted again: what began before it lost its data is over"}
}

func tellGrant(before, after *tinyWorld, m move, c, n string) []string {
	var out []string
	if owner := before.nodes[m.node].owner; owner != 0 {
		out = append(out, fmt.Sprintf("%s's grant to %s expires", n, name("c", int(owner)-1)))
	}
	text := fmt.Sprintf("%s grants to %s with fence %d", n, c, granted(before, after, m))
	if m.kind == repeat {
		text += "; a copy of the request is still under way"
	}
	return append(out, text)
}

// granted is the fence of a grant, which the node may have no more use for.
func granted(before, after *tinyWorld, m move) uint64 {
	if f := after.nodes[m.node].fence; f != 0 {
		return f
	}
	return max(after.nodes[m.node].counter, before.nodes[m.node].counter)
}

func tellHeard(before, after *tinyWorld, m move, c string) string {
	text := c + " hears from "
	for i := range m.answers {
		if i > 0 {
			text += " and "
		}
		text += name("n", int(m.from[i]))
	}
	if t := after.clients[m.client].token; t != 0 && before.clients[m.client].token == 0 {
		return text + fmt.Sprintf(", and has the lock with token %d", t)
	}
	for n := range after.wires[m.client] {
		if w := &after.wires[m.client][n]; w.confirm && !before.wires[m.client][n].confirm {
			return text + fmt.Sprintf(", and asks to confirm token %d", w.token)
		}
	}
	return text
}
