package nodetest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// wrapped is a memory node that may be broken in one way: the hooks change a
// request before the node sees it, and its answer afterwards.
type wrapped struct {
	*memnode.Node
	clock redlock.Clock

	onAcquire func(*redlock.AcquireRequest)
	onConfirm func(*redlock.ConfirmRequest)
	onExtend  func(*redlock.ExtendRequest)
	onRelease func(*redlock.ReleaseRequest)

	acquired  func(redlock.AcquireRequest, *redlock.Vote)
	confirmed func(redlock.ConfirmRequest, *redlock.Vote)
	extended  func(redlock.ExtendRequest, *redlock.Vote)
	inspected func(string, *redlock.NodeState)

	context func(context.Context) context.Context
	rename  func() string
	watched func(stop func()) func()
	keyed   func(string) string

	// mu makes a call and its hooks one step, so that a node is broken in one
	// way only.
	mu sync.Mutex
}

func (w *wrapped) prepare(ctx context.Context, key *string) context.Context {
	w.mu.Lock()
	if w.keyed != nil {
		*key = w.keyed(*key)
	}
	if w.context != nil {
		return w.context(ctx)
	}
	return ctx
}

func (w *wrapped) Name() string {
	if w.rename != nil {
		return w.rename()
	}
	return w.Node.Name()
}

func (w *wrapped) Watch(key, waiter string, wake func()) (stop func()) {
	stop = w.Node.Watch(key, waiter, wake)
	if w.watched != nil {
		return w.watched(stop)
	}
	return stop
}

func (w *wrapped) Acquire(ctx context.Context, req redlock.AcquireRequest) (redlock.Vote, error) {
	ctx = w.prepare(ctx, &req.Key)
	defer w.mu.Unlock()
	if w.onAcquire != nil {
		w.onAcquire(&req)
	}
	v, err := w.Node.Acquire(ctx, req)
	if err == nil && w.acquired != nil {
		w.acquired(req, &v)
	}
	return v, err
}

func (w *wrapped) Confirm(ctx context.Context, req redlock.ConfirmRequest) (redlock.Vote, error) {
	ctx = w.prepare(ctx, &req.Key)
	defer w.mu.Unlock()
	if w.onConfirm != nil {
		w.onConfirm(&req)
	}
	v, err := w.Node.Confirm(ctx, req)
	if err == nil && w.confirmed != nil {
		w.confirmed(req, &v)
	}
	return v, err
}

func (w *wrapped) Extend(ctx context.Context, req redlock.ExtendRequest) (redlock.Vote, error) {
	ctx = w.prepare(ctx, &req.Key)
	defer w.mu.Unlock()
	if w.onExtend != nil {
		w.onExtend(&req)
	}
	v, err := w.Node.Extend(ctx, req)
	if err == nil && w.extended != nil {
		w.extended(req, &v)
	}
	return v, err
}

func (w *wrapped) Release(ctx context.Context, req redlock.ReleaseRequest) error {
	ctx = w.prepare(ctx, &req.Key)
	defer w.mu.Unlock()
	if w.onRelease != nil {
		w.onRelease(&req)
	}
	return w.Node.Release(ctx, req)
}

func (w *wrapped) Inspect(ctx context.Context, key string) (redlock.NodeState, error) {
	ctx = w.prepare(ctx, &key)
	defer w.mu.Unlock()
	s, err := w.Node.Inspect(ctx, key)
	if err == nil && w.inspected != nil {
		w.inspected(key, &s)
	}
	return s, err
}

// state is the inner node's.
func (w *wrapped) state(key string) redlock.NodeState {
	s, err := w.Node.Inspect(context.Background(), key)
	if err != nil {
		panic(err)
	}
	return s
}

// usurp takes the key from its holder and gives it to another owner.
func (w *wrapped) usurp(req redlock.AcquireRequest, v *redlock.Vote) {
	holder := w.state(req.Key).Owner
	if err := w.Node.Release(context.Background(), redlock.ReleaseRequest{Key: req.Key, Owner: holder}); err != nil {
		panic(err)
	}
	got, err := w.Node.Acquire(context.Background(), req)
	if err != nil {
		panic(err)
	}
	*v = got
}

// aged tells an age in all answers.
func (w *wrapped) aged(age func(real time.Duration) time.Duration) {
	w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) { v.Age = age(v.Age) }
	w.confirmed = func(_ redlock.ConfirmRequest, v *redlock.Vote) { v.Age = age(v.Age) }
	w.extended = func(_ redlock.ExtendRequest, v *redlock.Vote) { v.Age = age(v.Age) }
	w.inspected = func(_ string, s *redlock.NodeState) { s.Age = age(s.Age) }
}

// breakage is a way to break a node, and the cases that must find it: those and
// no others.
type breakage struct {
	apply func(*wrapped)

	// found are the subtests, separated by space. One with a question mark
	// finds it only if goroutines happen to meet.
	found string
}

// The breakages that are also tried on a frozen node, which takes its time.
const noBreakage, contextBreakage = "nothing", "ignores contexts"

var breakages = map[string]breakage{
	noBreakage: {func(*wrapped) {}, ""},

	"grants twice": {func(w *wrapped) {
		w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) {
			if v.Holder != "" {
				*v = redlock.Vote{Granted: true, Fence: v.Counter + 1, Counter: v.Counter + 1}
			}
		}
	}, "1_exclusive/free_then_held 1_exclusive/one_winner_of_many 1_exclusive/one_winner_after_release " +
		"1_exclusive/one_winner_after_expiry 2_long_enough/stands_for_its_ttl 2_long_enough/odd_ttls " +
		"2_long_enough/tiny_ttls 2_long_enough/acquire_does_not_shorten " +
		"2_long_enough/extend_does_not_shorten 2_long_enough/acquire_lengthens " +
		"2_long_enough/extend_lengthens 6_final/late_acquire 7_telling/holder_remaining_counter " +
		"7_telling/counter_is_the_token 7_telling/remaining_shrinks 7_telling/other_holds " +
		"9_honest_about_memory/restart 9_honest_about_memory/one_life keys/any_byte clock/goes_forward " +
		"concurrent/one_key?"},
	"expires early": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) { req.TTL -= req.TTL / 50 }
	}, "2_long_enough/stands_for_its_ttl 2_long_enough/odd_ttls 2_long_enough/tiny_ttls " +
		"2_long_enough/large_ttl 2_long_enough/acquire_does_not_shorten " +
		"2_long_enough/extend_does_not_shorten 2_long_enough/acquire_lengthens " +
		"7_telling/holder_remaining_counter inspect/held"},
	"rounds TTLs down": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) {
			req.TTL = max(time.Millisecond, req.TTL.Truncate(time.Millisecond))
		}
	}, "2_long_enough/odd_ttls 2_long_enough/tiny_ttls"},
	"extend shortens": {func(w *wrapped) {
		ends := make(map[string]time.Duration)
		w.extended = func(req redlock.ExtendRequest, v *redlock.Vote) {
			if v.Granted {
				ends[req.Key] = w.clock.Now() + req.TTL
			}
		}
		w.acquired = func(req redlock.AcquireRequest, v *redlock.Vote) {
			if end, ok := ends[req.Key]; ok && v.Holder != "" && w.clock.Now() >= end {
				w.usurp(req, v)
			}
		}
	}, "2_long_enough/extend_does_not_shorten"},
	"extend does nothing": {func(w *wrapped) {
		w.onExtend = func(req *redlock.ExtendRequest) { req.TTL = 1 }
	}, "2_long_enough/extend_lengthens"},
	"acquiring again does not lengthen": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) {
			if w.state(req.Key).Owner == req.Owner {
				req.TTL = 1
			}
		}
	}, "2_long_enough/acquire_lengthens"},
	"never expires": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) { req.TTL += 1000 * time.Hour }
	}, "1_exclusive/one_winner_after_expiry 2_long_enough/tiny_ttls 2_long_enough/large_ttl " +
		"4_fenced/grows_over_expiry 4_fenced/same_owner_after_expiry " +
		"4_fenced/grows_over_confirm_and_expiry 5_conditional/confirm_after_expiry " +
		"5_conditional/confirm_after_takeover 5_conditional/extend_after_expiry " +
		"5_conditional/extend_after_takeover 6_final/release_after_expiry " +
		"6_final/release_after_expiry_is_final 7_telling/holder_remaining_counter 7_telling/free_when_told inspect/held " +
		"inspect/expired"},
	"new fence on acquiring again": {func(w *wrapped) {
		last := make(map[string]uint64)
		w.acquired = func(req redlock.AcquireRequest, v *redlock.Vote) {
			if v.Granted && last[req.Key+req.Owner] == v.Fence {
				v.Fence++
			} else {
				last[req.Key+req.Owner] = v.Fence
			}
		}
	}, "3_idempotent/same_fence 3_idempotent/whatever_the_hint 3_idempotent/after_confirm_and_extend " +
		"3_idempotent/duplicates_at_once"},
	"fence forgets tokens": {func(w *wrapped) {
		w.onConfirm = func(req *redlock.ConfirmRequest) { req.Token = 0 }
	}, "4_fenced/grows_over_confirm 4_fenced/grows_over_confirm_and_expiry " +
		"4_fenced/exact_up_to_the_limit 5_conditional/confirm_of_a_standing_grant " +
		"5_conditional/extend_of_a_standing_grant 7_telling/counter_is_the_token inspect/held " +
		"concurrent/own_keys"},
	"ignores hints": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) { req.Hint = 0 }
	}, "4_fenced/larger_hint 4_fenced/hint_within_horizon 4_fenced/hint_beyond_horizon"},
	"no horizon": {func(w *wrapped) {
		w.acquired = func(req redlock.AcquireRequest, v *redlock.Vote) {
			if v.Granted && v.Fence < req.Hint && req.Hint > redlock.MaxFence/2 {
				v.Fence, v.Counter = req.Hint, req.Hint
			}
		}
	}, "4_fenced/hint_beyond_horizon"},
	"confirm ignores the fence": {func(w *wrapped) {
		w.onConfirm = func(req *redlock.ConfirmRequest) { req.Fence = w.state(req.Key).Fence }
	}, "5_conditional/confirm_wrong_fence 5_conditional/confirm_token_for_fence"},
	"confirm ignores the owner": {func(w *wrapped) {
		w.onConfirm = func(req *redlock.ConfirmRequest) { req.Owner = w.state(req.Key).Owner }
	}, "5_conditional/confirm_wrong_owner 5_conditional/confirm_after_takeover"},
	"extend creates": {func(w *wrapped) {
		w.extended = func(req redlock.ExtendRequest, v *redlock.Vote) {
			if !v.Granted && !w.state(req.Key).Held {
				got, _ := w.Node.Acquire(context.Background(), redlock.AcquireRequest{Key: req.Key, Owner: req.Owner, TTL: req.TTL})
				*v = got
			}
		}
	}, "5_conditional/extend_after_expiry 5_conditional/extend_absent"},
	"extend of a foreign grant": {func(w *wrapped) {
		w.onExtend = func(req *redlock.ExtendRequest) {
			if s := w.state(req.Key); s.Held {
				req.Owner, req.Fence = s.Owner, s.Fence
			}
		}
	}, "5_conditional/extend_wrong_fence 5_conditional/extend_token_for_fence " +
		"5_conditional/extend_wrong_owner 5_conditional/extend_after_takeover concurrent/late_and_twice"},
	"forgets releases": {func(w *wrapped) {
		w.acquired = func(req redlock.AcquireRequest, v *redlock.Vote) {
			if !v.Granted && v.Holder == "" {
				*v = redlock.Vote{Granted: true, Fence: v.Counter + 1, Counter: v.Counter + 1}
			}
		}
	}, "6_final/late_acquire 6_final/release_before_acquire " +
		"6_final/release_before_acquire_of_a_held_key 6_final/release_after_expiry_is_final " +
		"6_final/every_released_owner"},
	"remembers one release": {func(w *wrapped) {
		last := make(map[string]string)
		w.onRelease = func(req *redlock.ReleaseRequest) { last[req.Key] = req.Owner }
		w.acquired = func(req redlock.AcquireRequest, v *redlock.Vote) {
			if !v.Granted && v.Holder == "" && last[req.Key] != req.Owner {
				*v = redlock.Vote{Granted: true, Fence: v.Counter + 1, Counter: v.Counter + 1}
			}
		}
	}, "6_final/late_acquire 6_final/release_before_acquire_of_a_held_key 6_final/every_released_owner"},
	"calls whoever came first": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) { req.Place.Since = 1 }
	}, "queue/oldest_first"},
	"sets a key aside for ever": {func(w *wrapped) {
		w.onAcquire = func(req *redlock.AcquireRequest) { req.Place.Hold = 24 * time.Hour }
	}, "queue/set_aside_and_lapsed"},
	"keeps waiting for who is gone": {func(w *wrapped) {
		w.watched = func(func()) func() { return func() {} }
	}, "queue/gone_waiter queue/gone_when_called"},
	"release frees foreign grants": {func(w *wrapped) {
		w.onRelease = func(req *redlock.ReleaseRequest) {
			if s := w.state(req.Key); s.Held {
				req.Owner = s.Owner
			}
		}
	}, "6_final/release_twice 6_final/release_after_expiry 6_final/foreign_release " +
		"6_final/release_before_acquire_of_a_held_key concurrent/one_key? concurrent/late_and_twice"},
	"refuses without the holder": {func(w *wrapped) {
		w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) { v.Holder = "" }
	}, "7_telling/holder_remaining_counter 7_telling/other_holds"},
	"refuses without the remaining time": {func(w *wrapped) {
		w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) { v.Remaining = 0 }
	}, "7_telling/holder_remaining_counter 7_telling/remaining_shrinks 7_telling/other_holds"},
	"refuses without the counter": {func(w *wrapped) {
		w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) {
			if !v.Granted {
				v.Counter = 0
			}
		}
	}, "7_telling/holder_remaining_counter 7_telling/counter_is_the_token 7_telling/nobody_holds " +
		"7_telling/other_holds"},
	contextBreakage: {func(w *wrapped) {
		w.context = context.WithoutCancel
	}, "8_bounded/context_ended_before 8_bounded/frozen_server"},
	"age of the process": {func(w *wrapped) {
		w.aged(func(time.Duration) time.Duration { return time.Hour })
	}, "9_honest_about_memory/restart"},
	"no age": {func(w *wrapped) {
		w.aged(func(time.Duration) time.Duration { return 0 })
	}, "9_honest_about_memory/restart"},
	"age of confirms missing": {func(w *wrapped) {
		w.confirmed = func(_ redlock.ConfirmRequest, v *redlock.Vote) { v.Age = 0 }
	}, "9_honest_about_memory/restart"},
	"one incarnation": {func(w *wrapped) {
		w.acquired = func(_ redlock.AcquireRequest, v *redlock.Vote) { v.Incarnation = "same" }
		w.confirmed = func(_ redlock.ConfirmRequest, v *redlock.Vote) { v.Incarnation = "same" }
		w.extended = func(_ redlock.ExtendRequest, v *redlock.Vote) { v.Incarnation = "same" }
		w.inspected = func(_ string, s *redlock.NodeState) { s.Incarnation = "same" }
	}, "9_honest_about_memory/restart"},
	"keys without case": {func(w *wrapped) {
		w.keyed = func(key string) string {
			b := []byte(key)
			for i := range b {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}, "keys/told_apart keys/told_apart_at_the_start"},
	"keys without trailing space": {func(w *wrapped) {
		w.keyed = func(key string) string { return strings.TrimRight(key, " ") }
	}, "keys/told_apart keys/longest"},
	"keys cut off": {func(w *wrapped) {
		w.keyed = func(key string) string { return key[:min(len(key), redlock.MaxKeyLength-1)] }
	}, "keys/longest"},
	"changing name": {func(w *wrapped) {
		var n atomic.Int64
		w.rename = func() string { return fmt.Sprint("node-", n.Add(1)) }
	}, "name/set_and_stable"},
	"inspect extends": {func(w *wrapped) {
		w.inspected = func(key string, s *redlock.NodeState) {
			if s.Held {
				_, _ = w.Node.Extend(context.Background(), redlock.ExtendRequest{Key: key, Owner: s.Owner, Fence: s.Fence, TTL: 30 * time.Second})
				s.Remaining = w.state(key).Remaining
			}
		}
	}, "inspect/changes_nothing"},
	"clock goes back": {func(w *wrapped) {
		w.extended = func(_ redlock.ExtendRequest, v *redlock.Vote) {
			v.Clock = v.Clock.Add(-time.Millisecond)
		}
	}, "clock/goes_forward"},
}
