package lockers

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// bySyscalls does the least that a quorum lock on Redis does with the least that a
// program can do it with: one goroutine that makes its own system calls, with no
// scheduler, no reader and no lock between it and five sockets. It has no fencing, and
// serves one caller at a time.
type bySyscalls struct {
	epoll   int
	sockets []socket
	events  []unix.EpollEvent
	answer  [4096]byte
}

type socket struct {
	fd   int
	owed int // answers that were not read
}

func openBySyscalls(at Where) (Locker, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &bySyscalls{epoll: epoll, events: make([]unix.EpollEvent, len(at.Redis))}
	for i, addr := range at.Redis {
		fd, err := connect(addr)
		if err == nil {
			l.sockets = append(l.sockets, socket{fd: fd})
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		}
		if err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

func connect(addr string) (int, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return 0, fmt.Errorf("%s: %w", addr, err)
	}
	return fd, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func (l *bySyscalls) Close() {
	for _, s := range l.sockets {
		_ = unix.Close(s.fd)
	}
	_ = unix.Close(l.epoll)
}

func (l *bySyscalls) Lock(_ context.Context, key string) (Held, error) {
	owner := strconv.FormatUint(rand.Uint64()>>1|1<<62, 10)
	dump := ownerDump(owner)
	acquire := fmt.Appendf(nil, "*4\r\n$7\r\nRESTORE\r\n$%d\r\n%s\r\n$5\r\n%d\r\n$%d\r\n%s\r\n",
		len(key), key, TTL.Milliseconds(), len(dump), dump)
	if err := l.ask(acquire, "+OK\r\n"); err != nil {
		return nil, err
	}
	return released(func(context.Context) error {
		release := fmt.Appendf(nil, "*3\r\n$4\r\nSREM\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(owner), owner)
		return l.ask(release, ":1\r\n")
	}), nil
}

// ownerDump is a set of one integer as DUMP gives it; see redisnode/native.go.
func ownerDump(owner string) []byte {
	n, _ := strconv.ParseUint(owner, 10, 64) // a number was made this text
	b := []byte{11, 16}
	b = binary.LittleEndian.AppendUint32(b, 8)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, n)
	b = binary.LittleEndian.AppendUint16(b, 9)
	return binary.LittleEndian.AppendUint64(b, ^crc64.Update(^uint64(0), redisCRC, b))
}

var redisCRC = crc64.MakeTable(0x95ac9329ac4bc9b5)

// ask sends to all and returns once a majority has answered as it should.
func (l *bySyscalls) ask(request []byte, want string) error {
	for i := range l.sockets {
		if _, err := unix.Write(l.sockets[i].fd, request); err != nil {
			return err
		}
		l.sockets[i].owed++
	}
	for agreed := 0; agreed < len(l.sockets)/2+1; {
		n, err := unix.EpollWait(l.epoll, l.events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range l.events[:n] {
			ok, err := l.read(&l.sockets[e.Fd], want)
			if err != nil {
				return err
			}
			if ok {
				agreed++
			}
		}
	}
	return nil
}

// read takes what has come from a socket, and tells whether it ends with the answer to
// the latest request, and that is as it should be.
func (l *bySyscalls) read(s *socket, want string) (bool, error) {
	n, err := unix.Read(s.fd, l.answer[:])
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, net.ErrClosed
	}
	s.owed -= bytes.Count(l.answer[:n], []byte("\n"))
	if s.owed > 0 {
		return false, nil
	}
	if !bytes.HasSuffix(l.answer[:n], []byte(want)) {
		return false, fmt.Errorf("%w: %q", errNoMajority, l.answer[:n])
	}
	return true, nil
}
