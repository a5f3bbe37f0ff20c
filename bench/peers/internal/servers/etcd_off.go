//go:build !etcd

package servers

// startEtcd finds no etcd: it comes with the tag, for it takes minutes to compile.
func (s *Servers) startEtcd() {
	s.host.Skipf("build with -tags etcd to have an etcd server compiled in")
}

// ServeIfChild is where the program turns into a server of its own, if it was
// started as one. Without etcd it never is.
func ServeIfChild() {}
