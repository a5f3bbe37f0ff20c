package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Nobody measures, simulates or soaks for an hour to learn that the file for it
// cannot be written.
func TestFilesAreCheckedFirst(t *testing.T) {
	memory(t, "a")
	bad := filepath.Join(writeFile(t, filepath.Join(t.TempDir(), "file"), ""), "x")
	for _, args := range [][]string{
		{"bench", "--for", "1h", "--html", bad},
		{"bench", "--for", "1h", "--html", t.TempDir()},
		{"sim", "run", "baseline", "--html", bad},
		{"sim", "run", "baseline", "--svg", bad},
		{"sim", "swarm", "--for", "1h", "--store", bad},
		{"sim", "replay", "--seed", "1", "--html", bad},
		{"sim", "shrink", "--seed", "1", "--store", bad},
		{"chaos", "run", "--all", "--html", bad},
		{"chaos", "run", "--all", "--store", bad},
		{"chaos", "run", "--all", "--dir", bad},
		{"chaos", "soak", "--for", "1h", "--html", bad},
		{"chaos", "soak", "--for", "1h", "--store", bad},
		{"chaos", "soak", "--for", "1h", "--dir", bad},
	} {
		status, out, errs := here(t, args...)
		assert.Equal(t, exitUsage, status, "%v", args)
		assert.Empty(t, out, "%v", args)
		assert.Contains(t, errs, "a directory", "%v", args)
	}
}

// A look at a file neither makes nor empties it.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	old := writeFile(t, filepath.Join(dir, "old"), "kept")
	fresh := filepath.Join(dir, "fresh")
	require.NoError(t, checkFiles("", old, fresh))
	text, err := os.ReadFile(old)
	require.NoError(t, err)
	assert.Equal(t, "kept", string(text))
	assert.NoFileExists(t, fresh)
	link := filepath.Join(dir, "link")
	if os.Symlink(filepath.Join(dir, "target"), link) == nil {
		require.NoError(t, checkFiles(link))
		_, err := os.Lstat(link)
		require.NoError(t, err, "the link is kept")
	}
	require.NoError(t, makeDir(filepath.Join(dir, "d"), 0o700))
	left, err := os.ReadDir(filepath.Join(dir, "d"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// What was found is told, with its status, though a file could not be written.
func TestVerdictsOutliveFailedWrites(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip(err)
	}
	memory(t, "a")
	status, out, errs := here(t, "bench", "--count", "10", "--html", full)
	assert.Equal(t, exitInternal, status)
	assert.Contains(t, out, "10 locks in")
	assert.Contains(t, errs, full)

	status, out, errs = here(t, "sim", "swarm", "--seeds", "300", "--without", "restart-guard", "--store", full)
	assert.Equal(t, exitSafety, status)
	assert.Contains(t, out, "VIOLATED")
	assert.Contains(t, errs, full)
}

func TestWithFailure(t *testing.T) {
	failed := errors.New("disk full")
	require.NoError(t, withFailure(nil, nil))
	for _, c := range []struct {
		verdict, failed error
		status          int
		text            string
	}{
		{nil, failed, exitInternal, "disk full"},
		{&exitError{status: exitSafety}, failed, exitSafety, "disk full"},
		{&exitError{status: 130, err: errors.New("interrupted")}, failed, 130, "interrupted\ndisk full"},
		{&exitError{status: exitSafety}, nil, exitSafety, ""},
	} {
		err := withFailure(c.verdict, c.failed)
		assert.Equal(t, c.status, statusOf(err))
		if c.text != "" {
			assert.EqualError(t, err, c.text)
		}
	}
}
