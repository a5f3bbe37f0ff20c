package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quorumlock/redlock/sim"
)

// Store is the life of the process that keeps what the locks protect. For each key
// it has a list that takes every line, and a fenced one that remembers the largest
// token and takes no line with a smaller one. It says what arrives, in the order in
// which it does, and ends when in does.
func Store(ctx context.Context, in io.Reader, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	s := &store{encoder: json.NewEncoder(out), lists: map[string]*list{}}
	s.say(said{Ready: listener.Addr().String()})
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil
		}
		go s.serve(conn)
	}
}

type store struct {
	mu      sync.Mutex
	encoder *json.Encoder
	lists   map[string]*list
}

// list is what one key protects. The lines themselves are the deeds that it says.
type list struct {
	largest  uint64 // token in the fenced list
	fenced   int    // lines
	unfenced int
}

func (s *store) say(line said) { _ = s.encoder.Encode(line) }

// serve takes lines from a client: its number, the asking, the token and the key.
func (s *store) serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var client int
		var id, token uint64
		var key string
		if n, err := fmt.Sscanf(lines.Text(), "%d %d %d %s", &client, &id, &token, &key); n != 4 {
			s.mu.Lock()
			s.say(said{Error: fmt.Sprintf("the store got %q: %v", lines.Text(), err)})
			s.mu.Unlock()
			return
		}
		taken := s.append(client, id, token, key)
		if _, err := fmt.Fprintln(conn, taken); err != nil {
			return
		}
	}
}

// append adds a line to both lists, or to one.
func (s *store) append(client int, id, token uint64, key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lists[key]
	if l == nil {
		l = &list{}
		s.lists[key] = l
	}
	l.unfenced++
	fenced := token >= l.largest
	if fenced {
		l.largest = token
		l.fenced++
	}
	s.say(said{Deed: &sim.Deed{At: stamp(), Kind: sim.Arrives, Client: client, Key: key, Lease: id, Token: token, Fenced: fenced}})
	return fenced
}

// storeClient sends writes to the store. A program waits for none of them, but does
// not give its lease back while one is on its way: not for long, that is.
type storeClient struct {
	conn net.Conn

	mu     sync.Mutex
	sent   int
	stored int
	more   chan struct{} // closed with the next answer
}

// storePatience is how long a program waits for its writes before it unlocks.
const storePatience = 2 * time.Second

func dialStore(addr string) (*storeClient, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	s := &storeClient{conn: conn, more: make(chan struct{})}
	go s.listen()
	return s, nil
}

func (s *storeClient) listen() {
	for lines := bufio.NewScanner(s.conn); lines.Scan(); {
		s.mu.Lock()
		s.stored++
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

func (s *storeClient) write(client int, l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	_ = s.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintf(s.conn, "%d %d %d %s\n", client, l.id, l.Token(), l.key) // a lost write is no breach
}

// settle waits until all that was sent so far has been answered.
func (s *storeClient) settle() {
	timer := time.NewTimer(storePatience)
	defer timer.Stop()
	s.mu.Lock()
	sent := s.sent
	s.mu.Unlock()
	for {
		s.mu.Lock()
		stored, more := s.stored, s.more
		s.mu.Unlock()
		if stored >= sent {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			return
		}
	}
}

func (s *storeClient) close() { _ = s.conn.Close() }
