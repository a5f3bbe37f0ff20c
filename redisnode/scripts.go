package redisnode

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/quorumlock/redlock"
	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

var (
	acquireScript = loadScript(10, "common", "queue", "acquire")
	confirmScript = loadScript(5, "common", "confirm")
	extendScript  = loadScript(5, "renew", "common", "extend")
	releaseScript = loadScript(6, "queue", "release")
	inspectScript = loadScript(2, "common", "inspect")
)

// script is a Lua script, whose text is sent where the server lacks it.
type script struct {
	source    string
	digest    string // by which a server that has it knows it
	arguments int    // how many it takes, beside its keys
}

// loadScript makes a script of the files in their order.
func loadScript(arguments int, files ...string) *script {
	var source strings.Builder
	fmt.Fprintf(&source, "local horizon_us, max_fence = %d, %d\n", redlock.HintHorizon.Microseconds(), uint64(redlock.MaxFence))
	for _, file := range files {
		text, err := luaFiles.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // the file is part of the package
		}
		source.Write(text)
	}
	return &script{source.String(), redis.NewScript(source.String()).Hash(), arguments}
}

// neverExpires is told as what remains of a key without an expiry. That is
// somebody's own data, so the time is only meant to keep waiters from asking
// again at once.
const neverExpires = 24 * time.Hour

// answer is what a script returns. A release returns nothing.
type answer struct {
	yes     bool
	owner   string
	fence   uint64
	left    time.Duration
	end     int64 // instead of left: when the lock ends, in microseconds of the server's clock
	counter uint64
	queued  bool
	clock   time.Time     // zero if the server did not look at it
	before  time.Duration // how long before the request another was sent that read it
	server  server
}

// fields are the values of an answer in their order. The first tells which are
// to come; see yes, no and inspect in the Lua files. Those of the server's
// identity come last, where it was asked for.
type fields struct {
	numbers [maxFields]int64
	texts   [maxFields]string
	n       int
}

// maxFields is as many as a refusal has that identifies the server.
const maxFields = 9

// isText says that field i of an answer with such a first field is text.
func isText(first int64, i, n int) bool {
	if i == 0 {
		return false
	}
	return first != 1 && i == 1 || first == 0 && i == 3 || i == plainFields(first) && n > i
}

// plainFields is how many fields an answer has without the server's identity.
func plainFields(first int64) int {
	switch first {
	case 0:
		return 7
	case 1:
		return 4
	}
	return 6
}

func (f *fields) answer() (answer, error) {
	plain := plainFields(f.numbers[0])
	if f.n != plain && f.n != plain+2 {
		return answer{}, fmt.Errorf("unexpected answer of %d values", f.n)
	}
	a := answer{server: server{uptime: -1}}
	if f.n > plain {
		a.server = server{runID: f.texts[plain], uptime: time.Duration(f.numbers[plain+1]) * time.Second}
	}
	clock := int64(0)
	switch f.numbers[0] {
	case 1:
		a.yes, a.fence, a.counter, clock = true, uint64(f.numbers[1]), uint64(f.numbers[2]), f.numbers[3]
	case 0:
		a.owner, a.end, a.counter, clock, a.queued = f.texts[1], endOf(f.texts[3]), uint64(f.numbers[4]), f.numbers[5], f.numbers[6] == 1
		if a.owner != "" && a.end == 0 {
			a.left = remaining(f.numbers[2])
		}
	default:
		a.yes, a.owner, a.fence, a.left, a.counter, clock = true, f.texts[1], uint64(f.numbers[2]), remaining(f.numbers[3]), uint64(f.numbers[4]), f.numbers[5]
	}
	if clock != 0 {
		a.clock = time.UnixMicro(clock).UTC()
	}
	return a, nil
}

// endOf reads when a lock ends; zero if that is not known.
func endOf(text string) int64 {
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return us
}

// once is a command that a client sends no second time without a definite answer to
// the first. Clients with retries, which a cluster's has always, repeat a call whose
// outcome they do not know. If the server was late to handle the first, that may be a
// grant after the second was refused, of which nobody knows.
type once struct{ *redis.Cmd }

// NoRetry implements redis.Cmder.
func (once) NoRetry() bool { return true }

// processor is what sends commands: any client.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// run makes one round trip, or a second one if the server does not have the script
// yet: NOSCRIPT says that nothing was done, so that one is harmless.
func (s *script) run(ctx context.Context, c processor, keys []string, args ...any) (any, error) {
	value, err := s.send(ctx, c, "EVALSHA", s.digest, keys, args)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		return s.send(ctx, c, "EVAL", s.source, keys, args)
	}
	return value, err
}

func (s *script) send(ctx context.Context, c processor, command, what string, keys []string, args []any) (any, error) {
	words := append(make([]any, 0, 3+len(keys)+len(args)), command, what, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3) // for a cluster to find the slot
	_ = c.Process(ctx, once{cmd})
	return cmd.Result()
}

// runScript runs a script that answers.
func runScript(ctx context.Context, c processor, s *script, keys []string, args ...any) (answer, error) {
	value, err := s.run(ctx, c, keys, args...)
	if err != nil {
		return answer{}, err
	}
	values, ok := value.([]any)
	if !ok {
		return answer{}, fmt.Errorf("unexpected answer %T", value)
	}
	return parseAnswer(values)
}

func parseAnswer(values []any) (answer, error) {
	f := fields{n: len(values)}
	if f.n == 0 || f.n > maxFields {
		return answer{}, fmt.Errorf("unexpected answer of %d values", f.n)
	}
	for i, value := range values {
		var ok bool
		if isText(f.numbers[0], i, f.n) {
			f.texts[i], ok = value.(string)
		} else {
			f.numbers[i], ok = value.(int64)
		}
		if !ok {
			return answer{}, fmt.Errorf("unexpected %T in an answer", value)
		}
	}
	return f.answer()
}

// remaining is how long a key that exists goes on to. In its last millisecond the
// server says 0, which would tell of a free key.
func remaining(ms int64) time.Duration {
	if ms < 0 {
		return neverExpires
	}
	return time.Duration(max(1, ms)) * time.Millisecond
}

// holder is the owner of a lock, or tells of what stands in its place: the key may
// hold anybody's data. A refusal has no fence to know a lock by, but owners are
// 32 hexadecimal digits.
func (a answer) holder() string {
	if a.fence > 0 || a.owner == "" || isID(a.owner) {
		return a.owner
	}
	return fmt.Sprintf("something that is no lock: %q", printable(a.owner))
}

func isID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == ownerLength
}

func printable(s string) string {
	const most = 64
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

// milliseconds rounds up, because a grant must never be shorter than asked.
func milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(1, ms)
}
