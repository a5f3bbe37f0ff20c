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
	var f fields
	switch line[0] {
	case '-':
		return answer{}, replyError(line[1:])
	case ':':
		return answer{}, nil // of a release
	case '*':
		f.n, err = strconv.Atoi(string(line[1:]))
	}
	if err != nil || f.n < 1 || f.n > maxFields {
		return answer{}, fmt.Errorf("%w: %.40q", errNotRedis, line)
	}
	for i := range f.n {
		if isText(f.numbers[0], i, f.n) {
			f.texts[i], err = readText(r, known)
		} else {
			f.numbers[i], err = readNumber(r, ':')
		}
		if err != nil {
			return answer{}, err
		}
	}
	return f.answer()
}

// readPush reads what a server sends unasked, and gives the message if it is one
// of a channel.
func readPush(r *bufio.Reader) (message string, is bool, err error) {
	n, err := readNumber(r, '>')
	if err != nil || n != 3 {
		return "", false, errNotRedis // nothing else than the channel was subscribed to
	}
	kind, err := readText(r, "message")
	if err != nil {
		return "", false, err
	}
	if _, err = readText(r, ""); err != nil {
		return "", false, err
	}
	if kind == "message" {
		message, err = readText(r, "")
		return message, true, err
	}
	_, err = readNumber(r, ':')
	return "", false, err
}

func readNumber(r *bufio.Reader, kind byte) (int64, error) {
	line, err := readLine(r)
	if err != nil {
		return 0, err
	}
	if line[0] == '-' {
		return 0, replyError(line[1:])
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

// readMap reads how many fields a hash has, of which follow as many names and values.
func readMap(r *bufio.Reader) (int, error) {
	n, err := readNumber(r, '%')
	if err == nil && (n < 0 || n > maxBulk) {
		err = errNotRedis
	}
	return int(n), err
}

// skipReply reads a reply of any kind that a command without a script has.
func skipReply(r *bufio.Reader) error {
	line, err := readLine(r)
	if err != nil {
		return err
	}
	text := string(line[1:])
	switch line[0] {
	case '-':
		return replyError(text)
	case '$', '=':
		size, err := strconv.Atoi(text)
		if err != nil || size > maxBulk {
			return errNotRedis
		}
		if size < 0 {
			return nil
		}
		_, err = r.Discard(size + 2)
		return err
	case '*', '%', '~', '>':
		n, err := strconv.Atoi(text)
		if err != nil || n > maxBulk {
			return errNotRedis
		}
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			if err := skipReply(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// readTime reads the answer to TIME.
func readTime(r *bufio.Reader) (time.Time, error) {
	line, err := readLine(r)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case line[0] == '-':
		return time.Time{}, replyError(line[1:])
	case string(line) != "*2":
		return time.Time{}, errNotRedis
	}
	var parts [2]int64
	for i := range parts {
		if _, err = readNumber(r, '$'); err != nil {
			return time.Time{}, err
		}
		if line, err = readLine(r); err != nil {
			return time.Time{}, err
		}
		for _, digit := range line {
			parts[i] = 10*parts[i] + int64(digit-'0')
		}
	}
	return time.Unix(parts[0], 1000*parts[1]).UTC(), nil
}
