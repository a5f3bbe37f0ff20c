package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/quorumlock/redlock/internal/server"
)

// Self is how this program is run again as a child: as Program Args... ROLE, where
// ROLE is "worker" or "store", it calls Worker or Store on its standard input and
// output.
type Self struct {
	Program string
	Args    []string
}

// child is a process of a run that talks in lines of JSON.
type child struct {
	*server.Process
	in    io.WriteCloser
	said  chan said // closed once it has ended and all it said was read
	errs  *tail
	inbox sync.Mutex
}

// startChild runs this program again.
func startChild(self Self, role string) (*child, error) {
	cmd := exec.Command(self.Program, append(append([]string{}, self.Args...), role)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// A pipe of our own: the command's is closed when the process ends, and what it
	// had said last with it.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &child{in: in, said: make(chan said, 1024), errs: &tail{}}
	cmd.Stdout, cmd.Stderr = write, c.errs
	c.Process, err = server.StartProcess(cmd)
	_ = write.Close()
	if err != nil {
		_ = read.Close()
		return nil, err
	}
	go c.listen(read)
	return c, nil
}

func (c *child) listen(from io.ReadCloser) {
	defer close(c.said)
	defer from.Close()
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var s said
		if json.Unmarshal(lines.Bytes(), &s) == nil { // a process that is killed may leave half a line
			c.said <- s
		}
	}
}

// tell sends a line.
func (c *child) tell(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.inbox.Lock()
	defer c.inbox.Unlock()
	_, err = c.in.Write(append(line, '\n'))
	return err
}

// awaitReady waits for a child's first words.
func (c *child) awaitReady(patience time.Duration) (string, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s, ok := <-c.said:
		if ok && s.Ready != "" {
			return s.Ready, nil
		}
	case <-timer.C:
	}
	c.end(0)
	return "", fmt.Errorf("chaos: a process of its own did not start: %s", c.errs.String())
}

// end lets the child end by itself for so long, and then ends it.
func (c *child) end(patience time.Duration) error {
	_ = c.Thaw()
	_ = c.tell(command{Stop: true})
	_ = c.in.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.Done():
		if c.Status() != 0 {
			return fmt.Errorf("a process ended with status %d: %s", c.Status(), c.errs.String())
		}
		return nil
	case <-timer.C:
		c.Kill()
		return errors.New("a process had not ended by itself")
	}
}

// tail keeps the last that was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if over := len(t.text) - 4000; over > 0 {
		t.text = t.text[over:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
