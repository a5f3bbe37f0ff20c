package nodetest

import (
	"math/rand/v2"
	"time"

	"github.com/quorumlock/redlock"
)

const (
	// lives is how many owners a client has in a round, one after the other.
	lives = 6

	// setAside is for how long a freed key is kept for a client that waits for it.
	setAside = 20 * time.Millisecond
)

// player is one client.
type player struct {
	*history
	node   redlock.Node
	waiter string
	open   []*act
}

func (p *player) do(a *act) *act {
	p.open = append(p.open, a)
	return p.history.do(p.node, a)
}

func (p *player) play() {
	if w, ok := p.node.(redlock.Waker); ok {
		for i := range contested {
			defer w.Watch(p.key(i), p.waiter, func() {})()
		}
	}
	for range lives {
		if !p.live() {
			break // an order is hard to find for many calls that failed
		}
	}
	for _, a := range p.open {
		a.wait()
	}
}

// live is the life of an owner, mostly as a Locker would lead it. It reports whether
// no call failed.
func (p *player) live() bool {
	now := uint64(realClock.Wall().UnixMicro())
	acquire := &act{op: redlock.OpAcquire, key: p.key(rand.IntN(contested)), owner: newOwner(), first: true, submitted: rand.IntN(2) == 0,
		hint: []uint64{0, now, now, now - 1e6, now + 1e6}[rand.IntN(5)]}
	if rand.IntN(4) == 0 {
		acquire.place = redlock.Place{Waiter: p.waiter, Since: now, Hold: setAside}
	}
	alone := acquire.place.Waiter == "" // among the owner's calls, so that its release may tell the hint
	also := func(a *act) *act {
		a.key, a.owner, a.submitted = acquire.key, acquire.owner, acquire.submitted
		return p.do(a)
	}
	release := func() {
		a := &act{op: redlock.OpRelease}
		if alone {
			a.hint = acquire.hint
		}
		also(a)
	}
	if p.do(acquire); rand.IntN(4) == 0 {
		release() // it has given up already
		acquire.wait()
		return acquire.err == nil
	}
	acquire.wait()
	switch {
	case acquire.err != nil:
		if rand.IntN(2) == 0 {
			alone = false
			also(&act{op: redlock.OpAcquire})
		}
		release()
		return false
	case !acquire.vote.Granted:
		if rand.IntN(2) == 0 {
			release()
		}
		return true
	}
	for range rand.IntN(3) {
		alone = false
		a := also(p.use(acquire))
		if rand.IntN(2) == 0 {
			continue
		}
		if a.wait(); a.err != nil {
			release()
			return false
		}
	}
	if rand.IntN(6) == 0 {
		p.do(&act{op: redlock.OpRelease, key: acquire.key, owner: acquire.owner}).wait() // by force, as by somebody else
	}
	release()
	return true
}

// use is something that an owner does with what it has acquired.
func (p *player) use(acquired *act) *act {
	fence := acquired.vote.Fence
	switch rand.IntN(4) {
	case 0:
		return &act{op: redlock.OpConfirm, fence: fence, token: fence + rand.Uint64N(1000)}
	case 1:
		return &act{op: redlock.OpConfirm, fence: fence + 1 - rand.Uint64N(3), token: fence} // perhaps of another grant
	case 2:
		if !acquired.submitted { // who submits asks again only for what it was not told
			return &act{op: redlock.OpAcquire}
		}
	}
	return &act{op: redlock.OpExtend, fence: fence}
}
