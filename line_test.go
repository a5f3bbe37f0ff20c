package redlock

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// order is who waits, first to last; the way back must agree.
func (ln *line) order(t *testing.T) []*turn {
	t.Helper()
	var turns []*turn
	for at := ln.first; at != nil; at = at.next {
		require.Same(t, at, at.next.prev)
		turns = append(turns, at)
		if at.next == ln.first {
			break
		}
	}
	return turns
}

// Whoever leaves a line, from whatever place in it, the others keep theirs.
func TestTheOthersKeepTheirPlaces(t *testing.T) {
	for leaver := range 4 {
		ls := newLines()
		options := &LockOptions{}
		ln, head := ls.join("k", options)
		require.Nil(t, head)
		var turns []*turn
		for range 4 {
			_, next := ls.join("k", options)
			turns = append(turns, next)
		}
		require.Equal(t, turns, ln.order(t))
		gone := turns[leaver]
		assert.True(t, ls.giveUp(ln, gone))
		assert.False(t, ls.giveUp(ln, gone), "it is out already")
		turns = append(turns[:leaver:leaver], turns[leaver+1:]...)
		require.Equal(t, turns, ln.order(t))

		_, last := ls.join("k", options)
		turns = append(turns, last)
		for _, next := range turns {
			ls.leave("k", ln, 0)
			select {
			case lease := <-next.told:
				assert.Nil(t, lease)
			default:
				t.Fatal("the next in line was not told")
			}
			assert.False(t, ls.giveUp(ln, next), "it was told")
		}
		require.Empty(t, ln.order(t))
		ls.leave("k", ln, 0)
		assert.Empty(t, ls.of)
	}
}
