package redisnode

import (
	"context"
	"embed"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/*.lua
var luaFiles embed.FS

var (
	acquireScript = loadScript("acquire", 7)
	confirmScript = loadScript("confirm", 5)
	extendScript  = loadScript("extend", 5)
	releaseScript = loadScript("release", 4)
	inspectScript = loadScript("inspect", 1)
)

// script is a script with its text, to be sent where the server lacks it.
type script struct {
	*redis.Script
	source    string
	arguments int // how many it takes, beside its keys
}

func loadScript(name string, arguments int) *script {
	var source strings.Builder
	for _, file := range []string{"common", name} {
		text, err := luaFiles.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // the file is part of the package
		}
		source.Write(text)
	}
	return &script{redis.NewScript(source.String()), source.String(), arguments}
}

// neverExpires is told as what remains of a key without an expiry. That is
// somebody's own data, so the time is only meant to keep waiters from asking
// again at once.
const neverExpires = 24 * time.Hour

// answer is what every script returns; see answer in lua/common.lua.
type answer struct {
	yes     bool
	owner   string
	fence   uint64
	left    time.Duration
	counter uint64
	clock   time.Time
	server  server
}

// runScript makes one round trip, or a second one if the server does not have
// the script yet: NOSCRIPT says that nothing was done, so that one is harmless.
func runScript(ctx context.Context, c redis.Scripter, s *script, keys []string, args ...any) (answer, error) {
	values, err := s.Run(ctx, c, keys, args...).Slice()
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(values)
}

func parseAnswer(values []any) (answer, error) {
	const owner, runID = 1, 6
	var numbers [8]int64
	var texts [8]string
	if len(values) != len(numbers) {
		return answer{}, fmt.Errorf("unexpected answer of %d values", len(values))
	}
	for i, value := range values {
		var ok bool
		if i == owner || i == runID {
			texts[i], ok = value.(string)
		} else {
			numbers[i], ok = value.(int64)
		}
		if !ok {
			return answer{}, fmt.Errorf("unexpected %T in an answer", value)
		}
	}
	return newAnswer(numbers, texts[owner], texts[runID]), nil
}

// remaining is how long a key that exists goes on to. In its last millisecond the
// server says 0, which would tell of a free key.
func remaining(ms int64) time.Duration {
	if ms < 0 {
		return neverExpires
	}
	return time.Duration(max(1, ms)) * time.Millisecond
}

// holder is the owner of a lock, or a printable form of what stands in its
// place: the key may hold anybody's data.
func (a answer) holder() string {
	if a.fence > 0 || a.owner == "" {
		return a.owner
	}
	return printable(a.owner)
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
