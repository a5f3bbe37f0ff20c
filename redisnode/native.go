package redisnode

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"strconv"
	"strings"
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
// gone. A counter tells the smallest fence that may be given next. The first sum ends at
// zero, so the two make it hint+1 if the hint may be given, and else one more than it
// was; and the first says which.
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

// A waiter whose turn it is takes the key by an acquire with one more command before it,
// which frees the key if it is set aside for that waiter. Where somebody else comes in
// between, the key is theirs. The lock's value tells when it ends, by what the client
// knows of the server's clock, and by that, that a script releases it: which calls
// the next waiter.
//
//	HDEL lock ~waiter
//	RESTORE lock ttl {owner: hint:end}
//
// A waiter that wants a place first takes it, and then looks who has the key. If that is
// another waiter, or the key is set aside for one, who has it will see the place. Else
// the acquire is made by the script.
//
//	ZADD queue NX since place
//	PEXPIRE queue ...
//	HGETALL lock

// isNative says that a call can be made so. An owner that may have released before must
// be looked up; a hint that is far ahead is cut by the script. A waiter gets a place
// only where it can be called.
func (l *link) isNative(call *redlock.Call, now serverTime) bool {
	switch {
	case !l.native.Load() || !call.Ordered || call.Hint == 0 || call.Hint > redlock.MaxFence || len(call.Owner) != ownerLength:
		return false
	case call.Op == redlock.OpRelease:
		return true
	case call.Op == redlock.OpAcquire:
		return int64(call.Hint) <= int64(now)+redlock.HintHorizon.Microseconds() && (call.Place.Waiter == "" || l.channel != "")
	}
	return false
}

// serverTime is what a server's clock shows, in microseconds.
type serverTime int64

// wantsPlace tells the acquires that look who has the key from those that take it.
func wantsPlace(call *redlock.Call) bool { return call.Place.Waiter != "" && call.Place.Hold != 0 }

// crcTable is of the checksum that DUMP ends with: CRC-64 of Jones, reflected.
var crcTable = crc64.MakeTable(0x95ac9329ac4bc9b5)

// ownerLength is how long a native lock's owner is.
const ownerLength = 32

// appendDump writes what DUMP would give for a hash of a fence by its owner. See beginDump.
func appendDump(b []byte, owner string, fence uint64) []byte {
	const number64, size = 0xf4, 1 + 8
	start := len(b)
	b = appendEntry(beginDump(b), owner)
	b = append(binary.LittleEndian.AppendUint64(append(b, number64), fence), size)
	return endDump(b, start)
}

// appendTaken is appendDump for a lock that a waiter takes, with its end.
func appendTaken(b []byte, owner string, fence uint64, end serverTime) []byte {
	start := len(b)
	b = appendEntry(beginDump(b), owner)
	var buf [40]byte
	value := append(strconv.AppendUint(buf[:0], fence, 10), ':')
	b = appendEntry(b, strconv.AppendInt(value, int64(end), 10))
	return endDump(b, start)
}

// appendAside is appendDump for a key that is set aside for a waiter.
func appendAside(b []byte, waiter string) []byte {
	const zero, size = 0, 1
	start := len(b)
	var buf [1 + redlock.WaiterLength]byte
	b = appendEntry(beginDump(b), append(append(buf[:0], setAside...), waiter...))
	return endDump(append(b, zero, size), start)
}

// A dump is of the type, the hash as Redis keeps small ones, and a footer of the
// format's version and a checksum. The hash is a list of its size, how many entries
// there are, and these, fields and values. Each entry ends with its length, for
// reading backwards.
const dumpHead = 1 + 2

func beginDump(b []byte) []byte {
	const hashAsList, unknown = 16, 0 // known since Redis 7.0
	return append(b, hashAsList, unknown, unknown, unknown, unknown, unknown, unknown, 2, 0)
}

// appendEntry writes an entry of at most 63 bytes.
func appendEntry[T string | []byte](b []byte, text T) []byte {
	const isText = 0x80
	return append(append(append(b, isText|byte(len(text))), text...), byte(1+len(text)))
}

// endDump ends a dump. Redis's checksum begins with zero and inverts nothing.
func endDump(b []byte, start int) []byte {
	const end, in14Bits, version = 0xff, 0x40, 10
	b = append(b, end)
	size := len(b) - start - dumpHead
	b[start+1], b[start+2] = in14Bits|byte(size>>8), byte(size)
	binary.LittleEndian.PutUint32(b[start+dumpHead:], uint32(size))
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

// appendTake writes the acquire of a waiter whose turn it is, at about now.
func (n *Node) appendTake(b, counts []byte, call *redlock.Call, now serverTime) (text, _ []byte) {
	b = append(b, "*3\r\n$4\r\nHDEL\r\n"...)
	b = n.appendKey(b, call.Key, "", "")
	b = append(b, "$33\r\n"+setAside...)
	b = append(append(b, call.Place.Waiter...), "\r\n*4\r\n$7\r\nRESTORE\r\n"...)
	b = n.appendKey(b, call.Key, "", "")
	ttl := milliseconds(call.TTL)
	b = appendNumber(b, uint64(ttl))
	var buf [128]byte
	b = appendBulk(b, appendTaken(buf[:0], call.Owner, call.Hint, now+serverTime(1000*ttl)))
	return b, appendCounts(counts, counterOf(tagOf(call.Key)), call.Hint)
}

// appendQueue writes the acquire of a waiter that wants a place.
func (n *Node) appendQueue(b []byte, call *redlock.Call, to *link) []byte {
	b = append(b, "*5\r\n$4\r\nZADD\r\n"...)
	b = n.appendKey(b, call.Key, queueInfix, "")
	b = appendNumber(append(b, "$2\r\nNX\r\n"...), call.Place.Since)
	b = appendMember(b, call.Place, to)
	b = append(b, "*3\r\n$7\r\nPEXPIRE\r\n"...)
	b = n.appendKey(b, call.Key, queueInfix, "")
	b = appendNumber(b, uint64(queueKept.Milliseconds()))
	return n.appendKey(append(b, "*2\r\n$7\r\nHGETALL\r\n"...), call.Key, "", "")
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

// readReleased reads what became of a native release.
func readReleased(r *bufio.Reader) (outcome, error) {
	_, err := readNumber(r, ':')
	if _, replied := err.(replyError); replied {
		return taken, nil // a script made a string of the hash
	}
	return done, err
}

// readAcquired reads what became of a native acquire, but for the counter.
func readAcquired(r *bufio.Reader) (outcome, error) {
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

// readTaken is readAcquired for a waiter, and tells whether the key was set aside for it.
func readTaken(r *bufio.Reader) (result outcome, wasAside bool, err error) {
	freed, err := readNumber(r, ':')
	if _, replied := err.(replyError); err != nil && !replied {
		return done, false, err
	}
	result, err = readAcquired(r)
	return result, freed == 1, err
}

// readQueued reads what became of a place, and who has the key if it is a waiter who
// will see the place when it is released; if not, the outcome is that it is taken.
func readQueued(r *bufio.Reader, call *redlock.Call, now serverTime) (a answer, result outcome, err error) {
	result = done
	for range 2 {
		_, err = readNumber(r, ':')
		if _, replied := err.(replyError); replied {
			result = taken
		} else if err != nil {
			return a, done, err
		}
	}
	fields, err := readMap(r)
	if _, replied := err.(replyError); replied {
		return a, taken, nil
	}
	if err != nil || fields != 1 {
		for range 2 * fields {
			if err = skipReply(r); err != nil {
				return a, done, err
			}
		}
		return a, taken, err
	}
	owner, err := readText(r, call.Owner)
	if err != nil {
		return a, done, err
	}
	value, err := readText(r, "")
	if err != nil {
		return a, done, err
	}
	a = answer{queued: true, server: server{uptime: -1}}
	if waiter, is := strings.CutPrefix(owner, setAside); is {
		if waiter == call.Place.Waiter {
			result = taken // it may have the key
		}
		return a, result, nil
	}
	fence, end, _ := strings.Cut(value, ":")
	a.owner, a.end = owner, endOf(end)
	a.counter, err = strconv.ParseUint(fence, 10, 64)
	if err != nil || a.end <= int64(now) || !isID(owner) || owner == call.Owner {
		result = taken // not by another waiter, or for longer than its end says
	}
	return a, result, nil
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
