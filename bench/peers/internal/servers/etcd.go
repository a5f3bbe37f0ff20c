//go:build etcd

package servers

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdVar in the environment makes the program an etcd server with its data in the
// directory named.
const etcdVar = "REDLOCK_PEERS_ETCD"

const etcdTimeout = 30 * time.Second

// startEtcd runs this program once more, as an etcd server: in a process of its own
// its processor time can be told from ours. It ends when its standard input does.
func (s *Servers) startEtcd() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), etcdVar+"="+s.host.TempDir())
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if errIn != nil || errOut != nil {
		s.host.Fatalf("etcd: %v %v", errIn, errOut)
	}
	if err := cmd.Start(); err != nil {
		s.host.Fatalf("etcd: %v", err)
	}
	s.host.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.host.Fatalf("etcd did not start: %v", err)
	}
	s.etcd = strings.TrimSpace(line)
}

// ServeIfChild is where the program turns into an etcd server, if it was started as
// one.
func ServeIfChild() {
	dir := os.Getenv(etcdVar)
	if dir == "" {
		return
	}
	if err := serveEtcd(dir); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveEtcd(dir string) error {
	anyPort := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.LogLevel = "error"
	cfg.UnsafeNoFsync = true // as the others here, it does not wait for a disk
	cfg.ListenClientUrls, cfg.ListenPeerUrls = []url.URL{anyPort}, []url.URL{anyPort}
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = []url.URL{anyPort}, []url.URL{anyPort}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return err
	case <-time.After(etcdTimeout):
		return fmt.Errorf("not ready within %v", etcdTimeout)
	}
	fmt.Println(e.Clients[0].Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
