package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	zooKeeperInstall = "apt-get install --no-install-recommends libzookeeper-java default-jre-headless"

	// zooKeeperJar names all other jars that the server needs. Where it is
	// elsewhere, an environment variable says so.
	zooKeeperJar    = "/usr/share/java/zookeeper.jar"
	zooKeeperJarVar = "REDLOCK_TEST_ZOOKEEPER_JAR"
)

// ZooKeeperOptions adjusts a ZooKeeper server.
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

	member int // of an ensemble of several, from 1 on
}

// StartZooKeeper starts a ZooKeeper server, an ensemble of one. It returns once a
// session was made and ended. A clock, if not nil, is the server's wall clock.
//
// It takes half a second and some 60 MB. What it was told it keeps through a
// Kill, but it does not wait for the disk (forceSync=no).
func StartZooKeeper(dir string, clock *Clock, opts ZooKeeperOptions) (*Server, error) {
	if opts.Tick == 0 {
		opts.Tick = 100 * time.Millisecond
	}
	if opts.MaxSession == 0 {
		opts.MaxSession = 20 * opts.Tick
	}
	k := kind{
		name:     "ZooKeeper",
		patience: 60 * time.Second, // a start takes half a second on an idle machine
		command:  func(s *Server) (string, []string, error) { return zooKeeperCommand(s, opts) },
		ready:    zooKeeperReady,
	}
	if opts.member > 0 {
		k.prepare = func(s *Server) error {
			return os.WriteFile(filepath.Join(s.Data(), "myid"), fmt.Appendln(nil, opts.member), 0o600)
		}
	}
	return start(k, dir, clock, nil)
}

// StartZooKeeperEnsemble starts so many ZooKeeper servers that are one ensemble; see
// StartZooKeeper. A server that is started again is ready once it follows a leader.
func StartZooKeeperEnsemble(dir string, servers int, opts ZooKeeperOptions) ([]*Server, error) {
	opts.Config = append(slices.Clone(opts.Config), "initLimit=100", "syncLimit=20")
	for member := 1; member <= servers; member++ {
		forData, err := freePort()
		if err != nil {
			return nil, err
		}
		forElections, err := freePort()
		if err != nil {
			return nil, err
		}
		opts.Config = append(opts.Config, fmt.Sprintf("server.%d=127.0.0.1:%d:%d", member, forData, forElections))
	}
	all := make([]*Server, servers)
	errs := make([]error, servers)
	var starting sync.WaitGroup
	for i := range all {
		opts := opts
		opts.member = i + 1
		starting.Go(func() {
			all[i], errs[i] = StartZooKeeper(filepath.Join(dir, strconv.Itoa(opts.member)), nil, opts)
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, s := range all {
			if s != nil {
				s.Close()
			}
		}
		return nil, err
	}
	return all, nil
}

// zooKeeperClasses finds the server's jar.
func zooKeeperClasses() (string, error) {
	jar := os.Getenv(zooKeeperJarVar)
	if jar == "" {
		jar = zooKeeperJar
	}
	if _, err := os.Stat(jar); err != nil {
		return "", &Missing{Program: jar, Install: zooKeeperInstall + "; or set " + zooKeeperJarVar}
	}
	return jar, nil
}

func zooKeeperCommand(s *Server, opts ZooKeeperOptions) (string, []string, error) {
	java, missing := program("java", zooKeeperInstall)
	jar, err := zooKeeperClasses()
	if err := errors.Join(missing, err); err != nil {
		return "", nil, err
	}
	config := filepath.Join(s.dir, "zoo.cfg")
	if err := os.WriteFile(config, []byte(zooKeeperConfig(s, opts)), 0o600); err != nil {
		return "", nil, err
	}
	// A small heap, and no time spent on what pays off after minutes.
	args := []string{"-Xmx64m", "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"}
	args = append(args, opts.Java...)
	program := "org.apache.zookeeper.server.ZooKeeperServerMain"
	if opts.member > 0 {
		program = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
	}
	return java, append(args, "-cp", jar, program, config), nil
}

func zooKeeperConfig(s *Server, opts ZooKeeperOptions) string {
	lines := append([]string{
		fmt.Sprintf("tickTime=%d", opts.Tick.Milliseconds()),
		fmt.Sprintf("maxSessionTimeout=%d", opts.MaxSession.Milliseconds()),
		"dataDir=" + filepath.ToSlash(s.Data()),
		fmt.Sprintf("clientPort=%d", s.port),
		"clientPortAddress=127.0.0.1",
		"maxClientCnxns=0",
		"admin.enableServer=false",
		"forceSync=no",
		"preAllocSize=1024",
	}, opts.Config...)
	return strings.Join(lines, "\n") + "\n"
}

// zooKeeperReady waits for a session. The server takes connections, and says that
// it is well, some time before it has any, and may never answer on them. Without a
// log it does not tell that its port was taken, but ends.
func zooKeeperReady(ctx context.Context, s *Server, run *process) error {
	for patience := 100 * time.Millisecond; ; patience += 50 * time.Millisecond {
		err := zooKeeperSession(ctx, s.Addr(), patience)
		if !run.alive() {
			return fmt.Errorf("%w, and so %w", errGone, errPortTaken) // whoever answered was another
		}
		if err == nil {
			return nil
		}
		select {
		case <-run.done:
			return fmt.Errorf("%w, and so %w", errGone, errPortTaken)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// zooKeeperSession makes a session and ends it.
func zooKeeperSession(ctx context.Context, addr string, patience time.Duration) error {
	return endZooKeeperSession(ctx, addr, patience, ZooKeeperSession{})
}

// ZooKeeperSession is what a client proves its session with.
type ZooKeeperSession struct {
	ID       uint64
	Password [16]byte
}

// EndZooKeeperSession ends a session of somebody else's, who finds that it has
// expired. The server cuts its owner off as it is taken over, and the owner may be
// back with it before it is ended: so it is tried again.
func EndZooKeeperSession(ctx context.Context, addr string, session ZooKeeperSession) error {
	for tries := 0; ; tries++ {
		err := endZooKeeperSession(ctx, addr, 2*time.Second, session)
		if err == nil || errors.Is(err, errNoSession) || tries == 20 || ctx.Err() != nil {
			return err
		}
	}
}

// errNoSession says that a server refused one: it has expired.
var errNoSession = errors.New("no session was given")

// ZooKeeperSessionOf reads the session out of the first bytes that a server sends
// on a connection.
func ZooKeeperSessionOf(reply []byte) (ZooKeeperSession, bool) {
	// Length, version, timeout, session, and the password with its length.
	if len(reply) < 40 || binary.BigEndian.Uint32(reply[20:]) != 16 {
		return ZooKeeperSession{}, false
	}
	s := ZooKeeperSession{ID: binary.BigEndian.Uint64(reply[12:])}
	copy(s.Password[:], reply[24:])
	return s, s.ID != 0
}

// endZooKeeperSession ends a session, or with the zero one a new session of its
// own.
func endZooKeeperSession(ctx context.Context, addr string, patience time.Duration, session ZooKeeperSession) error {
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
	binary.BigEndian.PutUint64(connect[20:], session.ID)
	binary.BigEndian.PutUint32(connect[28:], 16) // length of the password
	copy(connect[32:], session.Password[:])
	// Length, number and kind of a request to close the session, which the server
	// reads once there is one.
	closing := []byte{0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5}
	if _, err := conn.Write(append(connect[:], closing...)); err != nil {
		return err
	}
	var reply [4 + 4 + 4 + 8]byte // length, version, timeout, session
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(reply[12:]) == 0 {
		return errNoSession
	}
	answer, err := io.ReadAll(conn) // the server closes the connection
	if err == nil && session.ID != 0 && len(answer) < 20 {
		err = io.ErrUnexpectedEOF // it was taken back before it was closed
	}
	return err
}
