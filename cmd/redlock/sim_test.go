package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The stories end as they are told, and what a user types by mistake is answered.
func TestSim(t *testing.T) {
	status, out, _ := here(t, "sim", "list")
	assert.Equal(t, 0, status)
	assert.Contains(t, out, "kleppmann-gc-after-win")

	page := filepath.Join(t.TempDir(), "page.html")
	status, out, _ = here(t, "sim", "run", "kleppmann-gc-after-win", "--html", page)
	assert.Equal(t, 0, status)
	assert.Contains(t, out, "UNSAFE WITHOUT FENCING")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(html), "<svg")

	status, out, _ = here(t, "sim", "run", "baseline", "--json")
	assert.Equal(t, 0, status)
	assert.True(t, json.Valid([]byte(out)), out)

	status, out, _ = here(t, "sim", "advise", "--latency", "2ms", "--jitter", "20ms", "--nodes", "5", "--ttl", "10s", "--holds", "3s")
	assert.Equal(t, 0, status)
	assert.NotEmpty(t, out)

	status, _, errs := here(t, "sim", "run", "no-such-story")
	assert.Equal(t, exitUsage, status)
	assert.Contains(t, errs, "redlock sim list")
}
