package redisnode

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// read takes the answers in until the connection breaks.
func (s *stream) read(to *link) error {
	var batch received
	defer func() {
		s.settle(to, &batch)
		s.untold = append(batch.acquired, batch.granted...)
	}()
	for {
		if to.reader.Buffered() == 0 {
			// What is known now is all there is: let those who were told run and
			// submit what they want next, so that it leaves together.
			if batch.answered > 0 {
				runtime.Gosched()
			}
			s.settle(to, &batch)
		}
		first, err := to.reader.Peek(1)
		if err != nil {
			return err
		}
		if first[0] == '>' {
			message, is, err := readPush(to.reader)
			if err != nil {
				return err
			}
			if is {
				s.called(message, batch.answered)
			}
			continue
		}
		if err := s.takeAnswer(to, &batch); err != nil {
			return err
		}
	}
}

// received is what the reader did since it last told.
type received struct {
	answered int
	bytes    int       // of their requests
	acquired []waiting // natively, and the counter is not known yet
	granted  []waiting // natively, and not told yet, nor are the releases behind them
}

// settle tells what the reader did.
func (s *stream) settle(to *link, b *received) {
	s.mu.Lock()
	s.next += b.answered
	s.flying -= b.bytes
	if b.answered > 0 && s.unanswered() == 0 {
		if s.wrote < smallBatch {
			s.distance.add(to.at - s.written)
		}
		s.flying = 0
	}
	flush := s.mayFlush()
	s.mu.Unlock()
	*b = received{acquired: b.acquired, granted: b.granted}
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
		err = s.readClock(to, w, b)
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
		s.again(to, w, b)
	case w.how == byDigest || w.how == byText || w.how == toSettle:
		if w.call.Place.Hold != 0 {
			s.place(w.call, a.queued)
		}
		s.complete(&a, w.sent, to.at)
		s.tell(to, w, a, err)
		if isReplica(err) {
			// Who is it now? The address may lead to another server.
			s.node.demoted()
			return fmt.Errorf("the connection was given up: %w", err)
		}
	}
	return nil
}

// tell ends a call that was answered.
func (s *stream) tell(to *link, w waiting, a answer, err error) {
	w.call.Answered = to.at
	s.node.finish(w.call, a, s.identify(to, w, a, err), err)
}

// again has a call made once more, in the manner that it has now: it did nothing, or
// was granted natively and has no fence yet. It comes behind what was submitted
// meanwhile, so an acquire whose owner was released since is not made: nothing may come
// after its release. If it did nothing, that is a refusal. If it was granted, its owner
// has the key until the release is handled, and a no would deny that.
func (s *stream) again(to *link, w waiting, b *received) {
	s.mu.Lock()
	over := to.sealed && w.call.Op == redlock.OpAcquire && s.isReleased(w.call, s.next+b.answered)
	if !over {
		s.queue = append(s.queue, w)
	}
	s.mu.Unlock()
	if over && w.call.Place.Waiter != "" {
		s.place(w.call, true) // which the script would have ended
	}
	switch {
	case over && w.how == toSettle:
		s.tell(to, w, answer{}, errReleased)
	case over:
		s.tell(to, w, answer{clock: s.shown, before: w.sent - s.since, server: server{uptime: -1}}, nil)
	}
}

// isReleased looks for a release of a call's owner among those behind it.
func (s *stream) isReleased(call *redlock.Call, from int) bool {
	return s.anyFrom(from, func(c *redlock.Call) bool {
		return c.Op == redlock.OpRelease && c.Owner == call.Owner && c.Key == call.Key
	})
}

// anyFrom looks for a call among those of the reader's from one on, which were not told
// yet, and all that come behind them.
func (s *stream) anyFrom(from int, is func(*redlock.Call) bool) bool {
	for _, calls := range [][]waiting{s.taken[from:], s.sent, s.batch, s.queue} {
		if slices.ContainsFunc(calls, func(w waiting) bool { return is(w.call) }) {
			return true
		}
	}
	return false
}

// readNative reads what became of a native call, and says how it must be made
// again if that was not all. A grant waits for the counter and the server's clock.
func (s *stream) readNative(to *link, w waiting, b *received) (manner, error) {
	var result outcome
	var err error
	switch {
	case w.call.Op == redlock.OpRelease:
		result, err = readReleased(to.reader)
	case wantsPlace(w.call):
		return s.readQueued(to, w)
	case w.call.Place.Waiter != "":
		var wasAside bool
		result, wasAside, err = readTaken(to.reader)
		if result == done && !wasAside && err == nil {
			s.place(w.call, true) // it won by itself, and may have a place still
		}
	default:
		result, err = readAcquired(to.reader)
	}
	if err != nil {
		return native, err
	}
	if result == unusable {
		to.native.Store(false)
		result = taken
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
		s.tell(to, w, answer{}, nil)
	default:
		return byDigest, nil
	}
	return native, nil
}

// readQueued reads of a place and ends its call, unless the key may be had.
func (s *stream) readQueued(to *link, w waiting) (manner, error) {
	a, result, err := readQueued(to.reader, w.call, s.serverTime(to.at))
	if err != nil {
		return native, err
	}
	s.place(w.call, true)
	if result != done {
		return byDigest, nil
	}
	s.complete(&a, w.sent, to.at)
	s.tell(to, w, a, nil)
	return native, nil
}

// readCounters reads of the counters of the latest native acquires.
func (s *stream) readCounters(to *link, b *received) error {
	err := readRaised(to.reader, len(b.acquired))
	reply, unknown := err.(replyError)
	switch {
	case unknown && isForGood([]byte(reply)):
		to.native.Store(false)
	case !unknown && err != nil:
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
			s.again(to, *w, b)
		case unknown || instead != 0:
			w.how, w.instead = toSettle, instead
			s.again(to, *w, b)
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
func (s *stream) readClock(to *link, asked waiting, b *received) error {
	at, err := readTime(to.reader)
	_, replied := err.(replyError)
	if err != nil && !replied {
		return err
	}
	for _, w := range b.granted {
		if w.call.Op == redlock.OpRelease {
			s.tell(to, w, answer{}, nil)
			continue
		}
		s.tell(to, w, answer{yes: true, fence: w.call.Hint, counter: w.call.Hint, clock: at, server: server{uptime: -1}}, err)
	}
	if err == nil {
		s.hear(at, asked.sent, to.at)
	}
	clear(b.granted)
	b.granted = b.granted[:0]
	return nil
}

// complete works out what the server did not tell: what is left of a lock of which it
// told when it ends; and its clock, where it did not look at it. What that was a moment
// ago is what a later grant's is compared with.
func (s *stream) complete(a *answer, sent, now time.Duration) {
	if !a.clock.IsZero() {
		s.hear(a.clock, sent, now)
	}
	if a.end != 0 {
		a.left = max(time.Millisecond, time.Duration(a.end)*time.Microsecond-time.Duration(s.ahead.Load())-now)
	}
	if a.clock.IsZero() {
		a.clock, a.before = s.shown, sent-s.since
	}
}

// serverTime is what the server's clock shows at a local instant, by what it was when it
// was heard last.
func (s *stream) serverTime(at time.Duration) serverTime {
	return serverTime((at + time.Duration(s.ahead.Load())).Microseconds())
}

// hear notes what the server's clock shows, in answer to a request that was sent
// and answered at local instants.
func (s *stream) hear(clock time.Time, sent, now time.Duration) {
	s.shown, s.since = clock, sent
	s.ahead.Store(clock.UnixNano() - int64(now))
	s.heard.Store(int64(now))
}

// identify tells who answered a call. Behind a proxy each vote says it.
func (s *stream) identify(to *link, w waiting, a answer, err error) identified {
	if w.call.Op == redlock.OpRelease {
		return identified{}
	}
	sent := to.atNode - (to.at - w.sent)
	if s.proxied && err == nil {
		return s.identity.learn(a.server, 0, sent, to.atNode)
	}
	return s.identity.onStream(sent, to.atNode)
}
