package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const wholeFile = `
nodes = ["mem://file-1", "mem://file-2"]
ttl = "3s"
max_ttl = "30s"
node_timeout = "100ms"
drift_factor = 0.02
`

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// resolve gives what the settings come to for a command line, in an empty
// environment but for what the test has set.
func resolve(t *testing.T, flags ...string) (*settings, error) {
	t.Helper()
	for _, name := range []string{nodesVar, configVar} {
		if _, set := os.LookupEnv(name); !set {
			t.Setenv(name, "")
		}
	}
	cmd := &cobra.Command{}
	s := addFlags(cmd)
	require.NoError(t, cmd.ParseFlags(flags))
	return s, s.resolve(cmd)
}

func TestDefaults(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s, err := resolve(t, "-n", "mem://a")
	require.NoError(t, err)
	assert.Equal(t, 10*time.Second, s.ttl)
	assert.Equal(t, 10*time.Second, s.maxTTL)
	s, err = resolve(t, "-n", "mem://a", "--ttl", "1m")
	require.NoError(t, err)
	assert.Equal(t, time.Minute, s.maxTTL)
}

func TestFlagsBeforeEnvironmentBeforeFile(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "x.toml"), wholeFile)
	s, err := resolve(t, "--config", file)
	require.NoError(t, err)
	assert.Equal(t, []string{"mem://file-1", "mem://file-2"}, s.nodes)
	assert.Equal(t, 3*time.Second, s.ttl)
	assert.Equal(t, 30*time.Second, s.maxTTL)
	assert.Equal(t, 100*time.Millisecond, s.nodeTimeout)
	assert.InDelta(t, 0.02, s.drift, 0)

	t.Setenv(configVar, file)
	t.Setenv(nodesVar, " mem://env-1,mem://env-2\n\tmem://env-3 ")
	s, err = resolve(t, "--ttl", "5s")
	require.NoError(t, err)
	assert.Equal(t, []string{"mem://env-1", "mem://env-2", "mem://env-3"}, s.nodes)
	assert.Equal(t, 5*time.Second, s.ttl)
	assert.Equal(t, 30*time.Second, s.maxTTL, "what is not given elsewhere is the file's")

	s, err = resolve(t, "-n", "mem://flag-1", "--node", "mem://flag,2")
	require.NoError(t, err)
	assert.Equal(t, []string{"mem://flag-1", "mem://flag,2"}, s.nodes, "a flag is one URL")
}

// The hosts of a ZooKeeper ensemble are one node, also among others.
func TestNodesOfTheEnvironment(t *testing.T) {
	for list, want := range map[string][]string{
		"zk://h1,h2:2181,h3/root":               {"zk://h1,h2:2181,h3/root"},
		"redis://a,zk://h1,h2/root,mysql://b/c": {"redis://a", "zk://h1,h2/root", "mysql://b/c"},
		"redis://a , redis://b,\n,mem://c,":     {"redis://a", "redis://b", "mem://c"},
		" , ":                                   nil,
	} {
		assert.Equal(t, want, splitURLs(list), "%q", list)
	}
}

func TestFileOfTheUser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	writeFile(t, filepath.Join(dir, "redlock", "redlock.toml"), wholeFile)
	s, err := resolve(t)
	require.NoError(t, err)
	assert.Equal(t, []string{"mem://file-1", "mem://file-2"}, s.nodes)

	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", home)
	writeFile(t, filepath.Join(home, ".config", "redlock", "redlock.toml"), `nodes = ["mem://home"]`)
	s, err = resolve(t)
	require.NoError(t, err)
	assert.Equal(t, []string{"mem://home"}, s.nodes)
}

func TestFilesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		`nodes = ["mem://a"`:               "line 1",
		`nodes = "mem://a"`:                "nodes",
		`colour = "red"`:                   `unknown key "colour": known are nodes, ttl, max_ttl, node_timeout, drift_factor`,
		"[server]\nnodes = [\"mem://a\"]":  `unknown key "server`,
		"nodes = [\"mem://a\"]\nttl = 10":  "a string with a unit",
		"nodes = [\"mem://a\"]\nttl = '1'": "missing unit",
		`ttl = "1s"`:                       "no nodes",
		`ttl = "-1s"`:                      "x.toml: ttl is -1s",
		`max_ttl = "0s"`:                   "x.toml: max_ttl is 0s",
		`node_timeout = "-1s"`:             "x.toml: node_timeout is -1s",
		`drift_factor = 2.0`:               "x.toml: drift_factor is 2",
		`drift_factor = nan`:               "x.toml: drift_factor is NaN",
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "x.toml"), text)
		_, err := resolve(t, "--config", file)
		var exit *exitError
		if assert.ErrorAs(t, err, &exit, text) {
			assert.Equal(t, exitUsage, exit.status, text)
			assert.ErrorContains(t, err, want, text)
		}
	}
	_, err := resolve(t, "--config", filepath.Join(t.TempDir(), "missing"))
	assert.ErrorContains(t, err, "missing")
}

// What does not go together is refused with the name of the file that has a part in
// it.
func TestRefusalsNameTheFile(t *testing.T) {
	for text, want := range map[string]string{
		"nodes = [\"mem://a\"]\nmax_ttl = \"5s\"": "has nodes, max_ttl)",
		"node_timeout = \"20s\"":                  "has node_timeout)",
		"drift_factor = 0.999":                    "has drift_factor)",
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "x.toml"), text)
		t.Setenv(nodesVar, "mem://"+t.Name())
		if strings.Contains(text, "nodes") {
			t.Setenv(nodesVar, "")
		}
		status, _, errs := here(t, "inspect", "k", "--config", file)
		assert.Equal(t, exitUsage, status)
		assert.Contains(t, errs, "configuration file "+file+" "+want)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "x.toml"), `nodes = ["ftp://a"]`)
	t.Setenv(nodesVar, "")
	_, _, errs := here(t, "inspect", "k", "--config", file)
	assert.Contains(t, errs, "configuration file "+file+" has nodes)")
}
