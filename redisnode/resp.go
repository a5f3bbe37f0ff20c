package redisnode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// maxBulk bounds a string in a reply: what is longer does not come of our scripts.
const maxBulk = 1 << 16

// replyError is an error that the server sent. The connection is fine.
type replyError string

func (e replyError) Error() string { return string(e) }

var errNotRedis = errors.New("redis: can't parse the reply")

func appendArray(b []byte, n int) []byte {
	return append(strconv.AppendInt(append(b, '*'), int64(n), 10), '\r', '\n')
}

func appendBulk[T string | []byte](b []byte, s T) []byte {
	b = append(strconv.AppendInt(append(b, '$'), int64(len(s)), 10), '\r', '\n')
	return append(append(b, s...), '\r', '\n')
}

func appendNumber(b []byte, n uint64) []byte {
	var digits [20]byte
	return appendBulk(b, strconv.AppendUint(digits[:0], n, 10))
}

// readLine reads a line without its end. It is valid until the next read.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return nil, errNotRedis
	}
	return line[:len(line)-2], nil
}

// readAnswer reads what a script returned. An error of the type replyError is the
// script's; after any other one the connection is of no use. An owner equal to
// known is given as that very string.
func readAnswer(r *bufio.Reader, known string) (answer, error) {
	line, err := readLine(r)
	if err != nil {
		return answer{}, err
	}
	switch {
	case line[0] == '-':
		return answer{}, replyError(line[1:])
	case string(line) != "*8":
		return answer{}, fmt.Errorf("%w: %.40q", errNotRedis, line)
	}
	const owner, runID = 1, 6
	var numbers [8]int64
	var texts [8]string
	for i := range numbers {
		if i == owner || i == runID {
			texts[i], err = readText(r, known)
		} else {
			numbers[i], err = readNumber(r, ':')
		}
		if err != nil {
			return answer{}, err
		}
	}
	return newAnswer(numbers, texts[owner], texts[runID]), nil
}

func readNumber(r *bufio.Reader, kind byte) (int64, error) {
	line, err := readLine(r)
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%w: %.40q", errNotRedis, line)
	}
	digits, negative := line[1:], false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, errNotRedis
	}
	var n int64
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, errNotRedis
		}
		n = 10*n + int64(d-'0')
	}
	if negative {
		n = -n
	}
	return n, nil
}

func readText(r *bufio.Reader, known string) (string, error) {
	size, err := readNumber(r, '$')
	if err != nil {
		return "", err
	}
	if size < 0 || size > maxBulk {
		return "", errNotRedis
	}
	if int(size)+2 <= r.Size() {
		bytes, err := r.Peek(int(size) + 2)
		if err != nil {
			return "", err
		}
		text := known
		if string(bytes[:size]) != known {
			text = string(bytes[:size])
		}
		_, err = r.Discard(int(size) + 2)
		return text, err
	}
	bytes := make([]byte, size+2)
	_, err = io.ReadFull(r, bytes)
	return string(bytes[:size]), err
}

func newAnswer(numbers [8]int64, owner, runID string) answer {
	a := answer{
		yes:     numbers[0] == 1,
		owner:   owner,
		fence:   uint64(numbers[2]),
		counter: uint64(numbers[4]),
		clock:   time.UnixMicro(numbers[5]).UTC(),
		server:  server{runID: runID, uptime: time.Duration(numbers[7]) * time.Second},
	}
	if owner != "" {
		a.left = remaining(numbers[3])
	}
	return a
}
