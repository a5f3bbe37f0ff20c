package redisnode

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"strconv"
	"time"

	"github.com/quorumlock/redlock"
)

// A native acquire is a plain command, for a key that is most likely free, and a part
// of a second one, which raises the counters of all those that leave together; a native
// release is one:
//
//	RESTORE lock ttl {owner: hint}            grants if the key is free
//	BITFIELD fences OVERFLOW SAT
//	    INCRBY u54 counter -hint              what the counter is above the hint, or 0
//	    INCRBY u54 counter hint+1 ...         and as much above hint+1
//
//	HDEL lock owner                           frees the key if it is the owner's
//
// They cost the server a quarter of what the scripts do. RESTORE makes a hash of one
// field, with its expiry, unless the key exists; and a hash whose last field goes is
// gone. A counter tells the smallest fence that may be given next. The first sum ends at zero, so the two make
// it hint+1 if the hint may be given, and else one more than it was; and the first says
// which.
//
// Nothing makes one of the two commands, and others may come in between. They find the key
// held, so no other fence is given out, unless the grant is over by then:
// - because it has expired. The vote comes after that, later than the TTL from when
// it was asked for, so no lease can be won with it any more.
// - because it was released, which its owner does behind all that, on the same
// connection, or on a new one after this one was killed: then there is no vote. Others,
// who release it by force, raise the counter in its stead.
//
// The hint is the fence if it may be given, which is the rule, since hints are the
// time; else the fence is what the counter was, and a script writes it into the lock.
// An attempt that is refused raises the counter all the same, which is harmless:
// attempts that fail only raise counters.

// isNative says that a call can be made so, if the server's clock shows about now,
// in microseconds. An owner that may have released before must be looked up, and
// so must a waiter's place; a hint that is far ahead is cut by the script.
func isNative(call *redlock.Call, now int64) bool {
	if !call.Ordered || call.Place.Waiter != "" || call.Hint == 0 || call.Hint > redlock.MaxFence || len(call.Owner) != ownerLength {
		return false
	}
	return call.Op == redlock.OpRelease || call.Op == redlock.OpAcquire && int64(call.Hint) <= now+redlock.HintHorizon.Microseconds()
}

// crcTable is of the checksum that DUMP ends with: CRC-64 of Jones, reflected.
var crcTable = crc64.MakeTable(0x95ac9329ac4bc9b5)

// ownerLength is how long a native lock's owner is.
const ownerLength = 32

// appendDump writes what DUMP would give for a hash of a fence by its owner: the type,
// the hash as Redis keeps small ones, a list of fields and values, and a footer of the
// format's version and a checksum. Each entry ends with its length, for reading
// backwards.
func appendDump(b []byte, owner string, fence uint64) []byte {
	const (
		hashAsList, version        = 16, 10 // known since Redis 7.0
		text, number64, end        = 0x80, 0xf4, 0xff
		numberSize                 = 1 + 8
		size                uint32 = 4 + 2 + (1 + ownerLength + 1) + (numberSize + 1) + 1
	)
	start := len(b)
	b = append(b, hashAsList, byte(size))
	b = binary.LittleEndian.AppendUint32(b, size)
	b = binary.LittleEndian.AppendUint16(b, 2) // entries
	b = append(append(append(b, text|ownerLength), owner...), 1+ownerLength)
	b = append(binary.LittleEndian.AppendUint64(append(b, number64), fence), numberSize)
	return appendFooter(append(b, end), start, version)
}

// appendFooter ends a dump. Redis's checksum begins with zero and inverts nothing.
func appendFooter(b []byte, start int, version uint16) []byte {
	b = binary.LittleEndian.AppendUint16(b, version)
	return binary.LittleEndian.AppendUint64(b, ^crc64.Update(^uint64(0), crcTable, b[start:]))
}

// appendNative writes a call that is native, and to counts what it adds to the command
// for the counters. The work is done once for all nodes that it goes to.
func (n *Node) appendNative(b, counts []byte, call *redlock.Call) (text, _ []byte) {
	if call.Scratch == nil {
		return n.encodeNative(b, counts, call)
	}
	call.Scratch.Lock()
	defer call.Scratch.Unlock()
	last, ok := call.Scratch.Kept.(*encoding)
	if !ok {
		last = new(encoding)
		call.Scratch.Kept = last
	}
	of := encodingOf{call.Op, call.Key, call.Owner, call.Hint, call.TTL, n.prefix}
	if last.of != of {
		last.of = of
		last.text, last.counts = n.encodeNative(last.text[:0], last.counts[:0], call)
	}
	return append(b, last.text...), append(counts, last.counts...)
}

// encoding is a native call as it is written.
type encoding struct {
	of           encodingOf
	text, counts []byte
}

// encodingOf is all that an encoding depends on.
type encodingOf struct {
	op         redlock.Op
	key, owner string
	hint       uint64
	ttl        time.Duration
	prefix     string
}

func (n *Node) encodeNative(b, counts []byte, call *redlock.Call) (text, _ []byte) {
	if call.Op == redlock.OpRelease {
		b = append(b, "*3\r\n$4\r\nHDEL\r\n"...)
		b = n.appendKey(b, call.Key, "", "")
		return appendBulk(b, call.Owner), counts
	}
	b = append(b, "*4\r\n$7\r\nRESTORE\r\n"...)
	b = n.appendKey(b, call.Key, "", "")
	b = appendNumber(b, uint64(milliseconds(call.TTL)))
	var buf [64]byte
	b = appendBulk(b, appendDump(buf[:0], call.Owner, call.Hint))
	return b, appendCounts(counts, counterOf(tagOf(call.Key)), call.Hint)
}

// countWords is how many words appendCounts writes.
const countWords = 8

// appendCounts writes what raises a counter so that the hint is given, or the fence
// that is next.
func appendCounts(b []byte, c counter, hint uint64) []byte {
	const bits, unused = 8 * counterBytes, 10
	var buf [20]byte
	place := strconv.AppendUint(buf[:0], uint64(c)*bits+unused, 10)
	b = appendBulk(append(b, "$6\r\nINCRBY\r\n$3\r\nu54\r\n"...), place)
	var digits [21]byte
	b = appendBulk(b, strconv.AppendUint(append(digits[:0], '-'), hint, 10))
	b = appendBulk(append(b, "$6\r\nINCRBY\r\n$3\r\nu54\r\n"...), place)
	return appendNumber(b, hint+1)
}

// appendRaise writes the command that raises counters.
func (n *Node) appendRaise(b, counts []byte, words int) []byte {
	b = appendArray(b, 4+words)
	b = append(b, "$8\r\nBITFIELD\r\n"...)
	b = appendBulk(b, n.prefix+fences)
	b = append(b, "$8\r\nOVERFLOW\r\n$3\r\nSAT\r\n"...)
	return append(b, counts...)
}

// outcome is what became of a native call.
type outcome uint8

const (
	done     outcome = iota
	taken            // nothing was done: the script finds out why
	unusable         // likewise, and the server takes no such calls
)

// readNative reads what became of a native call, but for the counter.
func readNative(r *bufio.Reader, op redlock.Op) (outcome, error) {
	if op == redlock.OpRelease {
		_, err := readNumber(r, ':')
		if _, replied := err.(replyError); replied {
			return taken, nil // a script made a string of the hash
		}
		return done, err
	}
	line, err := readLine(r)
	switch {
	case err != nil:
		return done, err
	case string(line) == "+OK":
		return done, nil
	case line[0] == '-' && isForGood(line[1:]):
		return unusable, nil
	case line[0] == '-':
		return taken, nil
	}
	return done, fmt.Errorf("%w: %.40q", errNotRedis, line)
}

// isForGood tells errors that will come again from those of the moment (a key that is
// held, no memory, a replica): the server lacks a command or does not let us, or
// does not know the format.
func isForGood(reply []byte) bool {
	return bytes.HasPrefix(reply, []byte("ERR")) || bytes.HasPrefix(reply, []byte("NOPERM"))
}

// readRaised reads the beginning of an answer about so many counters.
func readRaised(r *bufio.Reader, counters int) error {
	n, err := readNumber(r, '*')
	if err == nil && n != 2*int64(counters) {
		err = errNotRedis
	}
	return err
}

// readCount reads what became of one: the fence to be given, if that is not the hint.
func readCount(r *bufio.Reader) (instead uint64, err error) {
	above, err := readNumber(r, ':')
	if err != nil {
		return 0, err
	}
	next, err := readNumber(r, ':')
	if err != nil || above == 0 {
		return 0, err
	}
	return uint64(next) - 1, nil
}
