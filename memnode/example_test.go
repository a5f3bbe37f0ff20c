package memnode_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

const (
	alice = "a11ce000000000000000000000000001"
	bob   = "b0b00000000000000000000000000002"
)

// A clock that the test moves makes expiry instant and exact.
func ExampleNew() {
	clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	node := memnode.New(memnode.Options{Clock: clock})
	ctx := context.Background()

	v, _ := node.Acquire(ctx, redlock.AcquireRequest{Key: "job", Owner: alice, TTL: 10 * time.Second})
	fmt.Println(v.Granted, v.Fence)

	clock.Advance(4 * time.Second)
	v, _ = node.Acquire(ctx, redlock.AcquireRequest{Key: "job", Owner: bob, TTL: 10 * time.Second})
	fmt.Println(v.Granted, v.Holder == alice, v.Remaining)

	clock.Advance(v.Remaining)
	v, _ = node.Acquire(ctx, redlock.AcquireRequest{Key: "job", Owner: bob, TTL: 10 * time.Second})
	fmt.Println(v.Granted, v.Fence)
	// Output:
	// true 1
	// false true 6s
	// true 2
}

// A test breaks nodes to see what its own code does then.
func ExampleNewN() {
	nodes := memnode.NewN(3, memnode.Options{Name: "node"})
	nodes[1].(*memnode.Node).SetDown(errors.New("connection refused"))

	for _, n := range nodes {
		v, err := n.Acquire(context.Background(), redlock.AcquireRequest{Key: "job", Owner: alice, TTL: time.Second})
		fmt.Println(n.Name(), v.Granted, err)
	}
	// Output:
	// node-1 true <nil>
	// node-2 false connection refused
	// node-3 true <nil>
}

// After a restart the node has forgotten the grant, and says with each vote how
// long ago that was, so that it is not counted too early.
func ExampleNode_Restart() {
	clock := redlock.NewManualClock(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC))
	node := memnode.New(memnode.Options{Clock: clock})
	ctx := context.Background()

	v, _ := node.Acquire(ctx, redlock.AcquireRequest{Key: "job", Owner: alice, TTL: time.Minute})
	fmt.Println(v.Granted, v.Age)

	node.Restart()
	clock.Advance(5 * time.Second)
	v, _ = node.Acquire(ctx, redlock.AcquireRequest{Key: "job", Owner: bob, TTL: time.Minute})
	fmt.Println(v.Granted, v.Age)
	// Output:
	// true 0s
	// true 5s
}
