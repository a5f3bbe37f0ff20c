package protocol

import "time"

// seat is what an attempt knows of one node. There may be very many attempts, so
// it is kept small.
type seat struct {
	// The request that was sent last, and what came of it.
	sent     Instant
	ttl      time.Duration
	id       uint32
	op       Op
	outcome  Outcome
	answered bool

	// The grant, if the node is known to have made one that still counts.
	granted bool
	stored  bool // and the node's counter is at the token, and those to spare, under this very grant
	fence   uint64
	expiry  Instant // it stands at least until then; the margin is taken off

	// There may be a grant that does not count: of an acquire that was never
	// answered, and may be handled at any time yet, or of a barred node.
	open   int16 // acquires without a definite answer
	doubt  bool
	rejoin bool   // its grant is gone: ask for a new one
	queued bool   // it keeps the waiter's place
	tries  uint8  // releases that failed, up to manyTries
	wait   uint32 // of a refusal, until its holder is gone; of a barred node, until it votes; see setWait

	retryAt Instant // of the next release; zero for none
}

// setWait keeps a time in microseconds, rounded up. More than an hour is long
// enough for what it is for: when to ask again at the latest.
func (s *seat) setWait(d time.Duration) {
	s.wait = uint32(min((max(0, d)+time.Microsecond-1)/time.Microsecond, 1<<32-1))
}

func (s *seat) waitFor() time.Duration { return time.Duration(s.wait) * time.Microsecond }

// manyTries is after how many the pause between releases grows no more.
const manyTries = 16

// ask notes that a request is sent.
func (s *seat) ask(now Instant, req Request) {
	s.id, s.op, s.sent, s.ttl = req.ID, req.Op, now, req.TTL
	s.answered, s.outcome, s.rejoin, s.retryAt = false, Pending, false, 0
	if req.Op == Acquire && s.open < 1<<15-1 {
		s.open++
	}
}

// waiting says that an answer may still come in time.
func (s *seat) waiting() bool { return s.id != 0 && !s.answered && s.outcome == Pending }

// deadline is until when an answer to the request is waited for.
func (s *seat) deadline(cfg *Config) Instant { return s.sent.Add(cfg.NodeTimeout) }

// asked says that the node has yet to answer the one acquire that it was sent.
func (s *seat) asked() bool { return s.waiting() && s.op == Acquire && s.open == 1 && !s.doubt }

// answer notes the outcome, unless the answer is to an earlier request. An
// answer after the deadline is still an answer.
func (s *seat) answer(in *Input) bool {
	if s.id != in.Request || s.answered {
		return false
	}
	s.answered, s.outcome = true, in.Vote.Outcome
	return true
}

// mayHold says that there may be something to give back.
func (s *seat) mayHold() bool { return s.granted || s.doubt || s.open > 0 }

// settle notes that an acquire, the latest or an earlier one, was handled.
func (s *seat) settle(o Outcome) {
	if o == Granted || o == Refused {
		s.open = max(0, s.open-1)
	}
}

// free notes that nothing of the owner is left, and that nothing can come: a
// release is final. Or it gives up on the node.
func (s *seat) free() {
	s.lapse()
	s.open, s.doubt, s.retryAt = 0, false, 0
}

// grant notes a grant, which stands for the TTL from when the request was sent
// at the earliest: the node cannot have handled it before.
func (s *seat) grant(cfg *Config, fence uint64) {
	s.granted, s.fence = true, fence
	s.stands(cfg, s.sent, s.ttl)
}

func (s *seat) stands(cfg *Config, sent Instant, ttl time.Duration) {
	s.expiry = max(s.expiry, sent.Add(ttl-cfg.Margin(ttl)))
}

// lapse notes that the node no longer has a grant that counts.
func (s *seat) lapse() {
	s.granted, s.stored, s.fence, s.expiry = false, false, 0, 0
}

// bar notes that the node's grants do not count, though there may be one.
func (s *seat) bar(v Vote) {
	s.lapse()
	s.doubt = true
	s.setWait(v.BarredFor)
}

func (s *seat) confirmed(v Vote) {
	switch v.Outcome {
	case Granted:
		s.stored = s.granted
	case Refused:
		s.lapse()
	case Barred:
		s.bar(v)
	}
}

func (s *seat) extended(cfg *Config, v Vote) {
	switch v.Outcome {
	case Granted:
		if s.granted {
			s.grant(cfg, s.fence)
		}
	case Refused:
		s.lapse()
		s.rejoin = true
	case Barred:
		s.bar(v)
	}
}

// vouched notes the answer to an extend that a newer request took the place of. A
// yes is worth what it was asked for, if the grant is still the same: else extends
// that follow each other faster than a round trip would let the lease run out. A
// no is told again by the newer request.
func (s *seat) vouched(cfg *Config, in *Input) {
	if in.Vote.Outcome == Granted && s.granted && s.fence == in.Fence {
		s.stands(cfg, in.Sent, in.TTL)
	}
}
