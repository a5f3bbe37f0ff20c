package redisnode

import (
	"bufio"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// read takes the answers in until the connection breaks.
func (s *stream) read(to *link) error {
	var batch received
	defer func() {
		s.settle(&batch)
		s.untold = append(batch.acquired, batch.granted...)
	}()
	for {
		if to.reader.Buffered() == 0 {
			// What is known now is all there is: let those who were told run and
			// submit what they want next, so that it leaves together.
			if batch.answered > 0 {
				runtime.Gosched()
			}
			s.settle(&batch)
		}
		first, err := to.reader.Peek(1)
		if err != nil {
			return err
		}
		if batch.at == 0 {
			batch.at, batch.nodes = s.clock.Now(), s.node.clock.Now()
		}
		if first[0] == '>' {
			message, err := readPush(to.reader)
			if err != nil {
				return err
			}
			s.called(message)
			continue
		}
		if err := s.takeAnswer(to, &batch); err != nil {
			return err
		}
	}
}

// received is what the reader did since it last told.
type received struct {
	at, nodes time.Duration // local instants, on the stream's clock and on the node's
	answered  int
	bytes     int       // of their requests
	again     []waiting // to be made again in another manner
	acquired  []waiting // natively, and the counter is not known yet
	granted   []waiting // natively, and not told yet, nor are the releases behind them
}

// settle tells what the reader did.
func (s *stream) settle(b *received) {
	s.mu.Lock()
	s.next += b.answered
	s.flying -= b.bytes
	s.queue = append(s.queue, b.again...)
	if b.answered > 0 && s.unanswered() == 0 {
		if s.wrote < smallBatch {
			s.distance.add(b.at - s.written)
		}
		s.flying = 0
	}
	flush := s.mayFlush()
	s.mu.Unlock()
	clear(b.again)
	*b = received{again: b.again[:0], acquired: b.acquired, granted: b.granted}
	if flush {
		s.flush()
	}
}

// takeAnswer reads one answer and ends the call it belongs to.
func (s *stream) takeAnswer(to *link, b *received) error {
	if s.next+b.answered == len(s.taken) {
		s.mu.Lock()
		s.taken, s.sent = s.sent, s.taken[:0]
		s.next, b.answered = 0, 0
		empty := len(s.taken) == 0
		s.mu.Unlock()
		if empty {
			return fmt.Errorf("%w: it answers what was not asked", errNotRedis)
		}
	}
	w := s.taken[s.next+b.answered]
	var a answer
	var err error
	next := w.how
	switch w.how {
	case counters:
		err = s.readCounters(to, b)
	case clock:
		err = s.readClock(to.reader, w, b)
	case native:
		next, err = s.readNative(to, w, b)
	default:
		a, err = readAnswer(to.reader, w.call.Owner)
		if _, replied := err.(replyError); replied && w.how == byDigest && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			next = byText // it did nothing
		}
	}
	if _, replied := err.(replyError); err != nil && !replied {
		return err
	}
	b.answered++
	b.bytes += int(w.size)
	switch {
	case next != w.how:
		w.how = next
		b.again = append(b.again, w)
	case w.how == byDigest || w.how == byText || w.how == toSettle:
		if w.call.Place.Hold != 0 {
			s.place(w.call, a.queued)
		}
		s.remaining(&a, w.sent, b.at)
		if a.clock.IsZero() {
			// A refusal has not looked at it. What it was a moment ago is what a
			// later grant's is compared with.
			a.clock, a.before = s.shown, w.sent-s.since
		}
		s.tell(w, a, s.identify(w, a, b, err), err, b)
	}
	return nil
}

// tell ends a call that was answered.
func (s *stream) tell(w waiting, a answer, who identified, err error, b *received) {
	w.call.Answered = b.at
	s.node.finish(w.call, a, who, err)
}

// readNative reads what became of a native call, and says how it must be made
// again if that was not all. A grant waits for the counter and the server's clock.
func (s *stream) readNative(to *link, w waiting, b *received) (manner, error) {
	result, err := readNative(to.reader, w.call.Op)
	if err != nil {
		return native, err
	}
	if result == unusable {
		to.native.Store(false)
	}
	switch {
	case w.call.Op == redlock.OpAcquire:
		if result != done {
			w.how = byDigest // once its part of the next answer was read
		}
		b.acquired = append(b.acquired, w)
	case result == done && len(b.acquired)+len(b.granted) > 0:
		// Who hears of a grant after its release would release it again.
		b.granted = append(b.granted, w)
	case result == done:
		s.tell(w, answer{}, identified{}, nil, b)
	default:
		return byDigest, nil
	}
	return native, nil
}

// readCounters reads of the counters of the latest native acquires.
func (s *stream) readCounters(to *link, b *received) error {
	unknown := false
	err := readRaised(to.reader, len(b.acquired))
	if _, unknown = err.(replyError); unknown {
		to.native.Store(false)
	} else if err != nil {
		return err
	}
	for i := range b.acquired {
		w := &b.acquired[i]
		var instead uint64
		if !unknown {
			if instead, err = readCount(to.reader); err != nil {
				// Those before it have gone on.
				b.acquired = b.acquired[i:]
				return err
			}
		}
		switch {
		case w.how == byDigest:
			b.again = append(b.again, *w)
		case unknown || instead != 0:
			w.how, w.instead = toSettle, instead
			b.again = append(b.again, *w)
		default:
			b.granted = append(b.granted, *w)
		}
	}
	clear(b.acquired)
	b.acquired = b.acquired[:0]
	return nil
}

// readClock reads the server's clock and ends the calls that were granted before.
// So a clock that leapt before a grant shows with it.
func (s *stream) readClock(r *bufio.Reader, asked waiting, b *received) error {
	at, err := readTime(r)
	_, replied := err.(replyError)
	if err != nil && !replied {
		return err
	}
	for _, w := range b.granted {
		if w.call.Op == redlock.OpRelease {
			s.tell(w, answer{}, identified{}, nil, b)
			continue
		}
		a := answer{yes: true, fence: w.call.Hint, counter: w.call.Hint, clock: at, server: server{uptime: -1}}
		s.tell(w, a, s.identify(w, a, b, err), err, b)
	}
	if err == nil {
		s.hear(at, asked.sent, b.at)
	}
	clear(b.granted)
	b.granted = b.granted[:0]
	return nil
}

// remaining works out what is left of a lock of which the server told only when
// it ends, by what its clock was when it was heard last.
func (s *stream) remaining(a *answer, sent, now time.Duration) {
	if !a.clock.IsZero() {
		s.hear(a.clock, sent, now)
	}
	if a.end != 0 {
		a.left = max(time.Millisecond, time.Duration(a.end)*time.Microsecond-time.Duration(s.ahead.Load())-now)
	}
}

// hear notes what the server's clock shows, in answer to a request that was sent
// and answered at local instants.
func (s *stream) hear(clock time.Time, sent, now time.Duration) {
	s.shown, s.since = clock, sent
	s.ahead.Store(clock.UnixNano() - int64(now))
	s.heard.Store(int64(now))
}

// identify tells who answered a call. Behind a proxy each vote says it.
func (s *stream) identify(w waiting, a answer, b *received, err error) identified {
	sent := b.nodes - (b.at - w.sent)
	if s.proxied && err == nil && w.call.Op != redlock.OpRelease {
		return s.identity.learn(a.server, 0, sent, b.nodes)
	}
	return s.identity.onStream(sent, b.nodes)
}
