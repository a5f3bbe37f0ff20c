package main

import (
	"encoding/csv"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// printedCommand takes the command apart that a line of the output begins with.
func printedCommand(t *testing.T, out, line string) []string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + line + `: redlock (.*)$`).FindStringSubmatch(out)
	require.NotNil(t, match, out)
	words := csv.NewReader(strings.NewReader(match[1]))
	words.Comma = ' ' // quotes are a shell's
	args, err := words.Read()
	require.NoError(t, err)
	return args
}

// What a failing swarm prints is a command that gives the same run, to the hash,
// and one that makes a short story of it. So does the file that it stores.
func TestSimFailuresCanBeReplayed(t *testing.T) {
	for _, without := range []string{"restart-guard", "restart-guard drift-margin"} {
		file := filepath.Join(t.TempDir(), "run.json")
		status, out, _ := here(t, "sim", "swarm", "--seeds", "300", "--without", without, "--store", file)
		require.Equal(t, exitSafety, status, out)

		again := printedCommand(t, out, "again")
		require.Equal(t, []string{"sim", "replay", "--seed"}, again[:3])
		status, told, _ := here(t, again...)
		assert.Equal(t, exitSafety, status)
		assert.Contains(t, told, "VIOLATED")

		again[len(again)-1] = "0123456789abcdef"
		status, _, errs := here(t, again...)
		assert.Equal(t, exitNotRepeated, status)
		assert.Contains(t, errs, "and was 0123456789abcdef")

		status, _, _ = here(t, "sim", "replay", file)
		assert.Equal(t, exitSafety, status)

		small := filepath.Join(t.TempDir(), "small.json")
		status, story, _ := here(t, append(printedCommand(t, out, "smaller"), "--store", small)...)
		assert.Equal(t, 0, status)
		events := regexp.MustCompile(`(?m)^ +\d\S* +\S+ +\S.*$`).FindAllString(story, -1)
		assert.NotEmpty(t, events)
		assert.Less(t, len(events), 30, story) // each vote of a quorum of seven nodes is an event
		status, _, _ = here(t, "sim", "replay", small)
		assert.Equal(t, exitSafety, status, "what was shrunk still breaks, to the same hash")
	}
}
