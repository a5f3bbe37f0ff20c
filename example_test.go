package redlock_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

func Example() {
	ctx := context.Background()
	locker, err := redlock.New(memnode.NewN(3, memnode.Options{}), redlock.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer locker.Close(ctx)

	err = locker.Do(ctx, "reports/2026-11", func(ctx context.Context, lease *redlock.Lease) error {
		// ctx ends when the lease does. Send the token with every write.
		fmt.Println("working on", lease.Key(), "with a token:", lease.Token() > 0)
		return nil
	})
	fmt.Println("done:", err)
	// Output:
	// working on reports/2026-11 with a token: true
	// done: <nil>
}

func ExampleLocker_Lock() {
	ctx := context.Background()
	locker, _ := redlock.New(memnode.NewN(3, memnode.Options{}), redlock.Options{TTL: 5 * time.Second})
	defer locker.Close(ctx)

	// The context bounds the waiting, not the lease.
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	lease, err := locker.Lock(waiting, "invoices")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lease.Unlock(ctx)

	select {
	case <-lease.Done():
		fmt.Println("lost; stop working:", lease.Err())
	default:
		fmt.Println("held")
	}
	// Output: held
}

func ExampleLocker_TryLock() {
	ctx := context.Background()
	nodes := memnode.NewN(3, memnode.Options{})
	ours, _ := redlock.New(nodes, redlock.Options{})
	theirs, _ := redlock.New(nodes, redlock.Options{})
	defer ours.Close(ctx)
	defer theirs.Close(ctx)

	lease, _ := theirs.Lock(ctx, "nightly")
	_, err := ours.TryLock(ctx, "nightly")
	switch {
	case errors.Is(err, redlock.ErrNotAcquired):
		fmt.Println("somebody else is at it")
	case errors.Is(err, redlock.ErrNoQuorum):
		fmt.Println("raise an alarm:", err)
	}
	lease.Unlock(ctx)
	// Output: somebody else is at it
}

func ExampleLocker_With() {
	ctx := context.Background()
	locker, _ := redlock.New(memnode.NewN(3, memnode.Options{}), redlock.Options{MaxTTL: time.Minute})
	defer locker.Close(ctx)

	long := locker.With(redlock.LockOptions{TTL: time.Minute, NoRenew: true})
	lease, err := long.TryLock(ctx, "migration")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lease.Unlock(ctx)
	fmt.Println(lease.Remaining() > 55*time.Second)
	// Output: true
}

// A register that checks tokens refuses the write of a holder that was paused
// while its lease ran out, though that holder does not know.
func ExampleLease_Token() {
	ctx := context.Background()
	clock := redlock.NewManualClock(time.Now())
	nodes := memnode.NewN(3, memnode.Options{Clock: clock})
	locker, _ := redlock.New(nodes, redlock.Options{Clock: clock, NoRenew: true})
	defer locker.Close(ctx)

	var seen uint64
	write := func(lease *redlock.Lease, who string) {
		if lease.Token() < seen {
			fmt.Println(who, "refused")
			return
		}
		seen = lease.Token()
		fmt.Println(who, "written")
	}

	paused, _ := locker.Lock(ctx, "account")
	clock.Advance(time.Minute)
	next, _ := locker.Lock(ctx, "account")
	write(next, "the next holder:")
	write(paused, "the paused holder:")
	// Output:
	// the next holder: written
	// the paused holder: refused
}

func ExampleLocker_Inspect() {
	ctx := context.Background()
	locker, _ := redlock.New(memnode.NewN(3, memnode.Options{}), redlock.Options{})
	defer locker.Close(ctx)

	lease, _ := locker.Lock(ctx, "backup")
	states, err := locker.Inspect(ctx, "backup")
	if err != nil {
		fmt.Println(err)
	}
	held := 0
	for _, s := range states {
		if s.Owner == lease.Owner() {
			held++
		}
	}
	fmt.Println("held on a majority:", held >= 2)
	// Output: held on a majority: true
}
