package redisnode

import (
	"strconv"
	"time"

	"github.com/quorumlock/redlock"
)

// raises are counters that are to be raised, by native acquires that are written.
type raises struct {
	words  int
	counts []byte
	lowest uint64 // of the hints
}

// encode writes the batch into the buffer. What is native does not tell the
// server's clock, so it is asked for behind the last of them.
func (s *stream) encode(to *link, now time.Duration) {
	server := s.serverTime(now)
	s.buf, s.leaves = s.buf[:0], s.leaves[:0]
	timed := false
	for i := range s.batch {
		w := s.batch[i]
		w.sent = now
		if w.how == undecided && to.isNative(w.call, server) {
			s.encodeNative(&w, to, server)
			timed = timed || w.call.Op == redlock.OpAcquire && !wantsPlace(w.call)
			continue
		}
		s.encodeRaises(now) // which comes before all else that acquired calls may be followed by
		w.how = max(w.how, byDigest)
		mode := to.mode
		if mode == modeFast && now-time.Duration(s.heard.Load()) > clockAge {
			mode = "" // have the clock told
		}
		start := len(s.buf)
		s.buf = s.node.appendCall(s.buf, &w, to, mode)
		s.leave(&w, start)
	}
	s.encodeRaises(now)
	if timed {
		start := len(s.buf)
		s.buf = append(s.buf, "*1\r\n$4\r\nTIME\r\n"...)
		s.leave(&waiting{call: noCall, sent: now, how: clock, timeout: noCall.Timeout}, start)
	}
}

// encodeNative writes a native call. A release comes behind the raising of the counter
// for its acquire.
func (s *stream) encodeNative(w *waiting, to *link, server serverTime) {
	r := &s.raises
	if w.call.Op == redlock.OpRelease && r.words > 0 && w.call.Hint >= r.lowest {
		s.encodeRaises(w.sent)
	}
	start := len(s.buf)
	acquire := w.call.Op == redlock.OpAcquire
	switch {
	case acquire && wantsPlace(w.call):
		s.buf = s.node.appendQueue(s.buf, w.call, to)
		acquire = false // nothing is raised for it
	case acquire && w.call.Place.Waiter != "":
		s.buf, r.counts = s.node.appendTake(s.buf, r.counts, w.call, server)
	default:
		s.buf, r.counts = s.node.appendNative(s.buf, r.counts, w.call)
	}
	if acquire {
		if r.words == 0 || w.call.Hint < r.lowest {
			r.lowest = w.call.Hint
		}
		r.words += countWords
	}
	w.how = native
	s.leave(w, start)
}

// encodeRaises writes the command for the counters, if any are to be raised.
func (s *stream) encodeRaises(now time.Duration) {
	r := &s.raises
	if r.words == 0 {
		return
	}
	start := len(s.buf)
	s.buf = s.node.appendRaise(s.buf, r.counts, r.words)
	s.leave(&waiting{call: noCall, sent: now, how: counters, timeout: noCall.Timeout}, start)
	r.words, r.counts = 0, r.counts[:0]
}

// leave notes what was written from start on.
func (s *stream) leave(w *waiting, start int) {
	w.size = int32(len(s.buf) - start)
	s.leaves = append(s.leaves, *w)
}

// noCall stands for what the stream asks by itself.
var noCall = &redlock.Call{Timeout: overdueMin, Done: func(*redlock.Call) {}}

// scriptOf is the script of an operation.
func scriptOf(op redlock.Op) *script {
	switch op {
	case redlock.OpAcquire:
		return acquireScript
	case redlock.OpConfirm:
		return confirmScript
	case redlock.OpExtend:
		return extendScript
	}
	return releaseScript
}

// appendCall writes a call as a script's.
func (n *Node) appendCall(b []byte, w *waiting, to *link, mode string) []byte {
	call := w.call
	s := scriptOf(call.Op)
	queues := call.Op == redlock.OpAcquire || call.Op == redlock.OpRelease
	tombstone := call.Op == redlock.OpAcquire || call.Op == redlock.OpRelease && !(call.Ordered && to.sealed)
	keys := 2
	if queues {
		keys++
	}
	if tombstone {
		keys++
	}
	b = appendArray(b, 3+keys+s.arguments)
	if w.how == byText || w.how == toSettle {
		b = appendBulk(appendBulk(b, "EVAL"), s.source)
	} else {
		b = appendBulk(appendBulk(b, "EVALSHA"), s.digest)
	}
	b = appendNumber(b, uint64(keys))
	b = n.appendKey(b, call.Key, "", "")
	at := counterOf(tagOf(call.Key))
	b = appendBulk(b, n.fencesOf(at))
	if queues {
		b = n.appendKey(b, call.Key, queueInfix, "")
	}
	if tombstone {
		b = n.appendKey(b, call.Key, tombstoneInfix, call.Owner)
	}
	b = appendBulk(b, mode)
	if call.Op != redlock.OpRelease {
		b = appendNumber(b, uint64(n.place(at)))
	}
	b = appendBulk(b, call.Owner)
	switch call.Op {
	case redlock.OpAcquire:
		b = appendNumber(b, uint64(milliseconds(call.TTL)))
		switch {
		case w.instead != 0:
			b = appendBulk(appendNumber(b, w.instead), "settle")
		case w.how == toSettle:
			b = appendBulk(appendNumber(b, call.Hint), "count")
		default:
			b = appendBulk(appendNumber(b, min(call.Hint, redlock.MaxFence)), flag(!call.Ordered || !to.sealed))
		}
		b = appendPlace(b, call.Place, to)
	case redlock.OpConfirm:
		b = appendNumber(appendNumber(b, call.Fence), call.Token)
	case redlock.OpExtend:
		b = appendNumber(appendNumber(b, call.Fence), uint64(milliseconds(call.TTL)))
	case redlock.OpRelease:
		if tombstone {
			b = appendNumber(b, uint64(n.tombstone))
		} else {
			b = appendBulk(b, "")
		}
		b = appendBulk(b, n.wakes)
		b = appendNumber(appendBulk(b, flag(call.Wake)), uint64(n.place(at)))
	}
	return b
}

func flag(is bool) string {
	if is {
		return "1"
	}
	return ""
}

// appendPlace writes what the acquire script takes of a waiter; no place, if it does not
// want one or could not be called.
func appendPlace(b []byte, p redlock.Place, to *link) []byte {
	if p.Waiter == "" || to.channel == "" {
		return append(b, "$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"...)
	}
	b = appendBulk(b, p.Waiter)
	if p.Hold == 0 {
		return append(b, "$0\r\n\r\n$0\r\n\r\n$0\r\n\r\n"...)
	}
	b = appendNumber(b, p.Since)
	b = appendMember(b, p, to)
	return appendNumber(b, uint64(queueKept.Milliseconds()))
}

// queueKept is for how long a queue is kept from when somebody last asked for a place.
// Waiters do that every now and then.
const queueKept = time.Minute

// appendMember writes a place as lua/queue.lua has it.
func appendMember(b []byte, p redlock.Place, to *link) []byte {
	var buf [256]byte
	member := append(append(buf[:0], p.Waiter...), to.channel...)
	member = append(strconv.AppendInt(member, milliseconds(p.Hold), 10), ';')
	if to.native.Load() {
		member = appendAside(member, p.Waiter)
	}
	return appendBulk(b, member)
}
