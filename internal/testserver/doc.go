// Package testserver starts real servers for tests and breaks them on purpose:
// kills, restarts and freezes them, and cuts, holds or robs their connections.
//
// A server belongs to the test that started it. It listens on 127.0.0.1 on a
// free port, keeps its files in the test's temporary directory, and is gone when
// the test ends, or when the test process dies where the system can see to that.
//
// A machine without the server's program skips the test, so that a plain go test
// works everywhere; with REDLOCK_TEST_REQUIRE=1 in the environment it fails
// instead, so that a build cannot pass by skipping everything.
package testserver
