package redisnode

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/redlock"
)

// A native acquire is a transaction of plain commands, for a key that is most
// likely free:
//
//	SET lock owner:hint:0:end NX GET PX ttl    grants if the key is free
//	ZADD fence GT CH hint f                    raises the counter to the hint
//	PEXPIRE fence retention
//	TIME
//
// It costs the server half of what the script does. The hint is the fence if the
// counter was below it, which is the rule, since hints are the time; else the
// script has to settle it. An attempt that is refused raises the counter all the
// same, which is harmless: attempts that fail only raise counters.

// isNative says that a call can be made so. An owner that may have released
// before must be looked up, and so must a waiter's place.
func isNative(call *redlock.Call) bool {
	return call.Op == redlock.OpAcquire && call.Ordered && call.Place.Waiter == ""
}

// appendNative writes the transaction. The server's clock is about now.
func (n *Node) appendNative(b []byte, call *redlock.Call, hint uint64, now time.Duration) []byte {
	ttl := milliseconds(call.TTL)

	b = append(b, "*1\r\n$5\r\nMULTI\r\n*7\r\n$3\r\nSET\r\n"...)
	b = n.appendKey(b, call.Key, "", "")
	var buf [96]byte
	value := append(append(buf[:0], call.Owner...), ':')
	value = append(strconv.AppendUint(value, hint, 10), ":0:"+estimated...)
	value = strconv.AppendInt(value, (now + call.TTL).Microseconds(), 10)
	b = appendBulk(b, value)
	b = append(b, "$2\r\nNX\r\n$3\r\nGET\r\n$2\r\nPX\r\n"...)
	b = appendNumber(b, uint64(ttl))

	b = append(b, "*6\r\n$4\r\nZADD\r\n"...)
	b = n.appendKey(b, call.Key, fenceSuffix, "")
	b = append(b, "$2\r\nGT\r\n$2\r\nCH\r\n"...)
	b = appendNumber(b, hint)
	b = append(b, "$1\r\nf\r\n*3\r\n$7\r\nPEXPIRE\r\n"...)
	b = n.appendKey(b, call.Key, fenceSuffix, "")
	b = appendNumber(b, uint64(max(n.fence, 2*ttl)))
	return append(b, "*1\r\n$4\r\nTIME\r\n*1\r\n$4\r\nEXEC\r\n"...)
}

// fenceHint is the fence that a native acquire tries. It goes no further ahead of
// the server's clock than the script lets it, as far as that is known here.
func fenceHint(call *redlock.Call, now time.Duration) uint64 {
	limit := uint64(max(0, (now + redlock.HintHorizon).Microseconds()))
	return max(1, min(call.Hint, limit))
}

// nativeAnswer is what became of a native acquire.
type nativeAnswer struct {
	answer
	raised  bool  // the counter was below the hint
	refused error // the server did not take the transaction
	failed  error // a part of it had an error
}

func readNative(r *bufio.Reader, hint uint64) (n nativeAnswer, err error) {
	for range 5 { // to MULTI and the four that it queues
		line, err := readLine(r)
		if err != nil {
			return n, err
		}
		if line[0] == '-' && n.refused == nil {
			n.refused = replyError(line[1:])
		}
	}
	line, err := readLine(r)
	switch {
	case err != nil:
		return n, err
	case line[0] == '-':
		n.refused = replyError(line[1:])
		return n, nil
	case n.refused != nil || string(line) != "*4":
		return n, fmt.Errorf("%w: %.40q", errNotRedis, line)
	}
	n.server.uptime = -1
	held, err := readOptional(r)
	if err = n.part(err); err != nil {
		return n, err
	}
	raised, err := readNumber(r, ':')
	if err = n.part(err); err != nil {
		return n, err
	}
	_, err = readNumber(r, ':')
	if err = n.part(err); err != nil {
		return n, err
	}
	n.clock, err = readTime(r)
	if err = n.part(err); err != nil {
		return n, err
	}
	if held != "" {
		n.refusal(held)
		return n, nil
	}
	n.yes, n.raised, n.fence, n.counter = true, raised == 1, hint, hint
	return n, nil
}

// part keeps an error of a part of the transaction. Any other is of the connection.
func (n *nativeAnswer) part(err error) error {
	if _, replied := err.(replyError); replied {
		n.failed = err
		return nil
	}
	return err
}

// refusal fills in what the value of a lock tells; see lua/common.lua.
func (a *answer) refusal(value string) {
	lock, _, _ := strings.Cut(value, "|")
	parts := strings.Split(lock, ":")
	if len(parts) != 4 {
		a.owner, a.left = value, neverExpires
		return
	}
	a.owner, a.end = parts[0], endOf(parts[3])
	a.fence, _ = strconv.ParseUint(parts[1], 10, 64)
	a.counter, _ = strconv.ParseUint(parts[2], 10, 64)
	a.counter = max(a.counter, a.fence)
	if strings.HasPrefix(a.owner, setAside) {
		a.owner, a.end = "", 0
	}
}
