package testserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	zooKeeperInstall = "apt-get install --no-install-recommends libzookeeper-java default-jre-headless"

	// zooKeeperJar names all other jars that the server needs. Where it is
	// elsewhere, an environment variable says so.
	zooKeeperJar    = "/usr/share/java/zookeeper.jar"
	zooKeeperJarVar = "REDLOCK_TEST_ZOOKEEPER_JAR"

	// zooKeeperTimeout is generous: a start takes half a second on an idle machine.
	zooKeeperTimeout = 60 * time.Second
)

// ZooKeeperOptions adjusts a ZooKeeper server of a test.
type ZooKeeperOptions struct {
	// Tick is the server's unit of time; 100 ms by default. Sessions last from
	// 2 ticks on, and end up to a tick late.
	Tick time.Duration

	// MaxSession is the longest session timeout; by default one of 20 ticks.
	MaxSession time.Duration

	// Config has further lines of the server's configuration.
	Config []string

	// Java has further arguments for java, such as "-Dname=value".
	Java []string
}

// ZooKeeper is a ZooKeeper server of a test, an ensemble of one. It is not safe
// for concurrent use.
type ZooKeeper struct {
	Port int

	tb   TB
	java string
	jar  string
	dir  string
	opts ZooKeeperOptions
	run  *process // nil while it is not running
}

// StartZooKeeper starts a ZooKeeper server. It returns once a session was made
// and ended, and the server ends with the test at the latest.
//
// It takes half a second and some 60 MB. What it was told it keeps through a
// Kill, but it does not wait for the disk (forceSync=no).
func StartZooKeeper(tb TB, opts ZooKeeperOptions) *ZooKeeper {
	tb.Helper()
	if opts.Tick == 0 {
		opts.Tick = 100 * time.Millisecond
	}
	if opts.MaxSession == 0 {
		opts.MaxSession = 20 * opts.Tick
	}
	z := &ZooKeeper{
		tb:   tb,
		java: program(tb, "java", zooKeeperInstall),
		jar:  zooKeeperClasses(tb),
		dir:  tb.TempDir(),
		opts: opts,
	}
	tb.Cleanup(z.Close)
	for range startTries {
		z.Port = freePort(tb)
		err := z.start()
		if err == nil {
			return z
		}
		if !errors.Is(err, errGone) {
			tb.Fatalf("ZooKeeper did not start: %v", err)
		}
		tb.Logf("ZooKeeper ended, as it does if its port was taken meanwhile: %v", err)
	}
	tb.Fatalf("ZooKeeper did not start in %d attempts", startTries)
	return nil
}

// zooKeeperClasses finds the server's jar, or ends the test.
func zooKeeperClasses(tb TB) string {
	tb.Helper()
	jar := os.Getenv(zooKeeperJarVar)
	if jar == "" {
		jar = zooKeeperJar
	}
	_, err := os.Stat(jar)
	if err == nil {
		return jar
	}
	if os.Getenv(requireVar) == "1" {
		tb.Fatalf("%v, and %s=1 requires it; install it with: %s; or set %s", err, requireVar, zooKeeperInstall, zooKeeperJarVar)
	}
	tb.Skipf("%v; to run this test install it with: %s; or set %s", err, zooKeeperInstall, zooKeeperJarVar)
	return ""
}

// Addr is the server's address, host:port.
func (z *ZooKeeper) Addr() string { return localAddr(z.Port) }

// Start starts the server again after a Kill, on the same port and directory.
func (z *ZooKeeper) Start() {
	z.tb.Helper()
	if z.run != nil {
		z.tb.Fatalf("ZooKeeper on port %d runs already", z.Port)
	}
	if err := z.start(); err != nil {
		z.tb.Fatalf("ZooKeeper did not start again on port %d: %v", z.Port, err)
	}
}

// Kill ends the server at once, as a crash would (SIGKILL).
func (z *ZooKeeper) Kill() {
	if z.run != nil {
		z.run.kill()
		z.run = nil
	}
}

// Restart kills the server and starts it again.
func (z *ZooKeeper) Restart() {
	z.tb.Helper()
	z.Kill()
	z.Start()
}

// Wipe removes the data of a server that does not run, as a container without a
// volume does.
func (z *ZooKeeper) Wipe() {
	z.tb.Helper()
	if z.run != nil {
		z.tb.Fatalf("ZooKeeper on port %d runs", z.Port)
	}
	if err := os.RemoveAll(filepath.Join(z.dir, "data")); err != nil {
		z.tb.Fatalf("cannot remove ZooKeeper's data: %v", err)
	}
}

// Stop freezes the server (SIGSTOP): connections stay open and new ones are
// taken by the kernel, but nothing answers.
func (z *ZooKeeper) Stop() {
	z.tb.Helper()
	z.signal("freeze", freeze)
}

// Cont lets a frozen server go on.
func (z *ZooKeeper) Cont() {
	z.tb.Helper()
	z.signal("resume", resume)
}

// Close ends the server for good. It may be called more than once.
func (z *ZooKeeper) Close() { z.Kill() }

func (z *ZooKeeper) signal(what string, send func(*os.Process) error) {
	z.tb.Helper()
	if z.run == nil {
		z.tb.Fatalf("cannot %s ZooKeeper on port %d: it does not run", what, z.Port)
	}
	if err := send(z.run.cmd.Process); err != nil {
		z.tb.Fatalf("cannot %s ZooKeeper on port %d: %v", what, z.Port, err)
	}
}

// errGone says that the server ended by itself.
var errGone = errors.New("the server has ended")

// start runs the server and waits until it is ready.
func (z *ZooKeeper) start() error {
	config := filepath.Join(z.dir, "zoo.cfg")
	if err := os.WriteFile(config, []byte(z.config()), 0o600); err != nil {
		return err
	}
	// A small heap, and no time spent on what pays off after minutes.
	args := []string{"-Xmx64m", "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"}
	args = append(args, z.opts.Java...)
	args = append(args, "-cp", z.jar, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	run, err := startProcess(z.java, args...)
	if err != nil {
		return err
	}
	if err := z.ready(run); err != nil {
		run.kill()
		return fmt.Errorf("%w:\n%s", err, run.out.String())
	}
	z.run = run
	return nil
}

func (z *ZooKeeper) config() string {
	lines := append([]string{
		fmt.Sprintf("tickTime=%d", z.opts.Tick.Milliseconds()),
		fmt.Sprintf("maxSessionTimeout=%d", z.opts.MaxSession.Milliseconds()),
		"dataDir=" + filepath.ToSlash(filepath.Join(z.dir, "data")),
		fmt.Sprintf("clientPort=%d", z.Port),
		"clientPortAddress=127.0.0.1",
		"maxClientCnxns=0",
		"admin.enableServer=false",
		"forceSync=no",
		"preAllocSize=1024",
	}, z.opts.Config...)
	return strings.Join(lines, "\n") + "\n"
}

// ready waits for a session. The server takes connections, and says that it is
// well, some time before it has any, and may never answer on them.
func (z *ZooKeeper) ready(run *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), zooKeeperTimeout)
	defer cancel()
	for patience := 100 * time.Millisecond; ; patience += 50 * time.Millisecond {
		err := zooKeeperSession(ctx, z.Addr(), patience)
		if !run.alive() {
			return errGone // whoever answered was another
		}
		if err == nil {
			return nil
		}
		select {
		case <-run.done:
			return errGone
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// zooKeeperSession makes a session and ends it.
func zooKeeperSession(ctx context.Context, addr string, patience time.Duration) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	// The length, and then: version, zxid, timeout, session, and a password.
	const connectLength = 4 + 8 + 4 + 8 + 4 + 16
	var connect [4 + connectLength]byte
	binary.BigEndian.PutUint32(connect[0:], connectLength)
	binary.BigEndian.PutUint32(connect[16:], 1000) // timeout
	binary.BigEndian.PutUint32(connect[28:], 16)   // length of the password
	if _, err := conn.Write(connect[:]); err != nil {
		return err
	}
	var reply [4 + 4 + 4 + 8]byte // length, version, timeout, session
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(reply[12:]) == 0 {
		return errors.New("no session was given")
	}
	// Length, number and kind of a request to close the session.
	_, err = conn.Write([]byte{0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5})
	if err == nil {
		_, err = io.Copy(io.Discard, conn) // the server closes the connection
	}
	return err
}
