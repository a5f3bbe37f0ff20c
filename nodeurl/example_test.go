package nodeurl_test

import (
	"context"
	"fmt"
	"log"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/nodeurl"
)

// The nodes of a program usually come from its configuration.
func ExampleOpenAll() {
	ctx := context.Background()
	nodes, closeNodes, err := nodeurl.OpenAll(ctx, []string{"mem://a", "mem://b", "mem://c"})
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes()

	locker, err := redlock.New(nodes, redlock.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer locker.Close(ctx)

	err = locker.Do(ctx, "nightly-backup", func(context.Context, *redlock.Lease) error {
		fmt.Println("alone")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: alone
}

// Within a process, one name is one node.
func ExampleOpen() {
	ctx := context.Background()
	a, err := nodeurl.Open(ctx, "mem://example")
	if err != nil {
		log.Fatal(err)
	}
	b, err := nodeurl.Open(ctx, "mem://example")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(a.Name(), a == b)
	// Output: example true
}

// An error says what is allowed.
func ExampleOpen_error() {
	_, err := nodeurl.Open(context.Background(), "redis://10.0.0.1?durabel=true")
	fmt.Println(err)
	// Output: nodeurl: redis URL: unknown parameter "durabel": allowed are ca, cert, db, durable, key, name, prefix, proxied, servername
}
