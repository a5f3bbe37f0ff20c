package redisnode

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
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
//	RESTORE lock ttl {hint, a, b, c}          grants if the key is free
//	BITFIELD fences OVERFLOW SAT
//	    INCRBY u54 counter -hint              what the counter is above the hint, or 0
//	    INCRBY u54 counter hint+1 ...         and as much above hint+1
//
//	SREM lock hint a b c                      frees the key if it is the owner's
//
// They cost the server a quarter of what the scripts do. RESTORE makes a set of a
// few integers, with its expiry, unless the key exists; and a set whose last
// member goes is gone. So the owner is written as three integers. A counter tells the
// smallest fence that may be given next. The first sum ends at zero, so the two make
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
	if !call.Ordered || call.Place.Waiter != "" || call.Hint == 0 {
		return false
	}
	return call.Op == redlock.OpRelease || call.Op == redlock.OpAcquire && int64(call.Hint) <= now+redlock.HintHorizon.Microseconds()
}

const ownerBytes = 16

// parts are an owner's 128 bits in three numbers of 43, each with two bits above
// that keep them in order and apart from a fence.
type parts [3]uint64

const (
	partBits = 43
	partMask = 1<<partBits - 1
	partTag  = 1 << 60
)

// split gives the parts of an owner, if it has any: 32 hexadecimal digits, with
// small letters, for join writes those.
func split(owner string) (p parts, ok bool) {
	if len(owner) != 2*ownerBytes {
		return p, false
	}
	var raw [ownerBytes]byte
	var text [2 * ownerBytes]byte
	copy(text[:], owner)
	for _, digit := range text {
		if digit < 'a' && digit > '9' {
			return p, false
		}
	}
	if _, err := hex.Decode(raw[:], text[:]); err != nil {
		return p, false
	}
	high, low := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	p[0] = partTag | high>>(64-partBits)
	p[1] = 2*partTag | (high<<(2*partBits-64)|low>>(128-2*partBits))&partMask
	p[2] = 3*partTag | low<<(3*partBits-128)&partMask
	return p, true
}

// join is the reverse of split.
func (p parts) join() string {
	a, b, c := p[0]&partMask, p[1]&partMask, p[2]&partMask
	var raw [ownerBytes]byte
	binary.BigEndian.PutUint64(raw[:8], a<<(64-partBits)|b>>(2*partBits-64))
	binary.BigEndian.PutUint64(raw[8:], b<<(128-2*partBits)|c>>(3*partBits-128))
	return hex.EncodeToString(raw[:])
}

// inParts writes an owner as the scripts know it from native acquires.
func inParts(owner string) string {
	var buf [64]byte
	return string(appendInParts(buf[:0], owner))
}

func appendInParts(b []byte, owner string) []byte {
	p, ok := split(owner)
	if !ok {
		return append(b, '-') // no lock's owner
	}
	for i, part := range p {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, part, 10)
	}
	return b
}

// joined reads what inParts wrote.
func joined(text string) (owner string, ok bool) {
	words := strings.Split(text, ",")
	var p parts
	if len(words) != len(p) {
		return "", false
	}
	for i, word := range words {
		part, err := strconv.ParseUint(word, 10, 64)
		if err != nil || part>>60 != uint64(i+1) {
			return "", false
		}
		p[i] = part
	}
	return p.join(), true
}

// crcTable is of the checksum that DUMP ends with: CRC-64 of Jones, reflected.
var crcTable = crc64.MakeTable(0x95ac9329ac4bc9b5)

// appendDump writes what DUMP would give for a set of a fence and an owner's parts:
// the type, the set as Redis keeps small sets of integers, in order, and a footer
// of the format's version and a checksum.
func appendDump(b []byte, fence uint64, p parts) []byte {
	const setOfIntegers, size, width, version = 11, 8 + 4*8, 8, 9
	start := len(b)
	b = append(b, setOfIntegers, size)
	b = binary.LittleEndian.AppendUint32(b, width)
	b = binary.LittleEndian.AppendUint32(b, 1+uint32(len(p)))
	for _, n := range [...]uint64{fence, p[0], p[1], p[2]} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return appendFooter(b, start, version)
}

// appendFooter ends a dump. Redis's checksum begins with zero and inverts nothing.
func appendFooter(b []byte, start int, version uint16) []byte {
	b = binary.LittleEndian.AppendUint16(b, version)
	return binary.LittleEndian.AppendUint64(b, ^crc64.Update(^uint64(0), crcTable, b[start:]))
}

// appendNative writes a call that is native, unless its owner has no parts, and to
// counts what it adds to the command for the counters. The work is done once for all
// nodes that it goes to.
func (n *Node) appendNative(b, counts []byte, call *redlock.Call) (text, _ []byte, ok bool) {
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
		last.text, last.counts, last.ok = n.encodeNative(last.text[:0], last.counts[:0], call)
	}
	return append(b, last.text...), append(counts, last.counts...), last.ok
}

// encoding is a native call as it is written.
type encoding struct {
	of           encodingOf
	text, counts []byte
	ok           bool
}

// encodingOf is all that an encoding depends on.
type encodingOf struct {
	op         redlock.Op
	key, owner string
	hint       uint64
	ttl        time.Duration
	prefix     string
}

func (n *Node) encodeNative(b, counts []byte, call *redlock.Call) (text, _ []byte, ok bool) {
	p, ok := split(call.Owner)
	if !ok {
		return b, counts, false
	}
	if call.Op == redlock.OpRelease {
		b = append(b, "*6\r\n$4\r\nSREM\r\n"...)
		b = n.appendKey(b, call.Key, "", "")
		b = appendNumber(b, call.Hint)
		for _, part := range p {
			b = appendNumber(b, part)
		}
		return b, counts, true
	}
	b = append(b, "*4\r\n$7\r\nRESTORE\r\n"...)
	b = n.appendKey(b, call.Key, "", "")
	b = appendNumber(b, uint64(milliseconds(call.TTL)))
	var buf [64]byte
	b = appendBulk(b, appendDump(buf[:0], call.Hint, p))
	return b, appendCounts(counts, counterOf(tagOf(call.Key)), call.Hint), true
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
	taken            // the key is held, or is not what it should be: the script finds out
	unusable         // the server does not take such calls, and did nothing
)

// readNative reads what became of a native call, but for the counter.
func readNative(r *bufio.Reader, op redlock.Op) (outcome, error) {
	if op == redlock.OpRelease {
		_, err := readNumber(r, ':')
		if _, replied := err.(replyError); replied {
			return taken, nil // a script made a string of the set
		}
		return done, err
	}
	line, err := readLine(r)
	switch {
	case err != nil:
		return done, err
	case string(line) == "+OK":
		return done, nil
	case bytes.HasPrefix(line, []byte("-BUSYKEY")):
		return taken, nil
	case line[0] == '-':
		return unusable, nil // it granted nothing, but may not know the format
	}
	return done, fmt.Errorf("%w: %.40q", errNotRedis, line)
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
