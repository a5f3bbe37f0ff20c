package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/nodeurl"
)

const (
	nodesVar  = "REDLOCK_NODES"
	configVar = "REDLOCK_CONFIG"

	systemConfig = "/etc/redlock.toml"
)

const settingsHelp = `Nodes:
  A node is a server, named by a URL:
    redis://HOST[:PORT][/DB]    Redis; rediss:// is the same over TLS
    unix:///PATH/TO/SOCKET      Redis on a Unix socket
    mysql://HOST[:PORT]/DB      MySQL or MariaDB; with ?mode=session, a key is
                                freed as soon as its holder's connection ends
    zk://HOST[:PORT],.../ROOT   a ZooKeeper ensemble, which is one node
    mem://NAME                  a node in this process, to try things out
  Use three or five that fail independently, the same ones on every machine.
  Add ?durable=true to a server that loses no lock in a restart, such as a Redis
  with "appendfsync always". Any other does not vote for --max-ttl after its
  start, because it may have forgotten who holds what; with a --ttl of an hour,
  not for an hour.
  Credentials: redis://USER:PASSWORD@HOST, and so for the others, or without them
  in the URL the environment variables
    REDLOCK_REDIS_USERNAME, REDLOCK_REDIS_PASSWORD
    REDLOCK_MYSQL_USER, REDLOCK_MYSQL_PASSWORD
    REDLOCK_ZK_USER, REDLOCK_ZK_PASSWORD
  "go doc github.com/quorumlock/redlock/nodeurl" has all parameters of URLs.

Configuration:
  Flags come first, then the environment, then the configuration file.
  REDLOCK_NODES     node URLs, separated by blanks or commas
  REDLOCK_CONFIG    the configuration file, as --config
  The file is that one, or else the first there is of
  $XDG_CONFIG_HOME/redlock/redlock.toml (~/.config if that is not set) and
  /etc/redlock.toml. All of it is optional:
    nodes = ["redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.3"]
    ttl = "10s"              # as --ttl
    max_ttl = "10s"          # as --max-ttl; the same for all users of the nodes
    node_timeout = "250ms"   # as --node-timeout
    drift_factor = 0.01      # how far clocks may drift apart, as a fraction
`

const settingsHint = `Nodes and settings come from the flags, or else from the environment variable
REDLOCK_NODES, or else from a configuration file: "redlock help" has the forms.
`

// settings are what the flags, the environment and the file say together.
type settings struct {
	configFile  string
	nodes       []string
	ttl         time.Duration
	maxTTL      time.Duration
	nodeTimeout time.Duration
	maxHold     time.Duration // of run
	drift       float64
	verbose     bool

	fromFile []string // the keys whose values are the file's
	file     string
}

// fileSettings is the configuration file.
type fileSettings struct {
	Nodes       []string `toml:"nodes"`
	TTL         duration `toml:"ttl"`
	MaxTTL      duration `toml:"max_ttl"`
	NodeTimeout duration `toml:"node_timeout"`
	DriftFactor float64  `toml:"drift_factor"`
}

// duration is written with its unit: a bare number is refused, rather than
// taken for nanoseconds.
type duration time.Duration

// UnmarshalTOML implements toml.Unmarshaler.
func (d *duration) UnmarshalTOML(value any) error {
	s, ok := value.(string)
	if !ok {
		return fmt.Errorf("write a duration as a string with a unit, such as \"10s\"")
	}
	parsed, err := time.ParseDuration(s)
	*d = duration(parsed)
	return err
}

// addFlags gives a command the flags of all that use nodes, and the settings that they
// fill in.
func addFlags(cmd *cobra.Command) *settings {
	s := &settings{}
	f := cmd.Flags()
	f.StringArrayVarP(&s.nodes, "node", "n", nil, "`URL` of a node; repeat it for each")
	f.StringVar(&s.configFile, "config", "", "configuration `FILE`")
	f.DurationVar(&s.ttl, "ttl", 0, "the nodes free the lock after that long without a renewal (default 10s)")
	f.DurationVar(&s.maxTTL, "max-ttl", 0, "the longest TTL of any user of the nodes (default --ttl, at least 10s)")
	f.DurationVar(&s.nodeTimeout, "node-timeout", 0, "wait that long for a node (default a twentieth of --ttl, 50ms to 250ms)")
	f.SortFlags = false
	return s
}

// addVerbose is for commands that lock. The others show what each node said anyway.
func (s *settings) addVerbose(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&s.verbose, "verbose", "v", false, "log every vote to stderr")
}

// resolve fills in what the flags left open, and checks the rest.
func (s *settings) resolve(cmd *cobra.Command) error {
	if err := aboveZero(cmd, "ttl", "max-ttl", "node-timeout"); err != nil {
		return err
	}
	file, err := s.readFile()
	if err != nil {
		return err
	}
	if len(s.nodes) == 0 {
		s.nodes = splitURLs(os.Getenv(nodesVar))
	}
	if len(s.nodes) == 0 && len(file.Nodes) > 0 {
		s.nodes = file.Nodes
		s.fromFile = append(s.fromFile, "nodes")
	}
	if len(s.nodes) == 0 {
		return usageError("no nodes: give --node URL for each, or set %s, or list them in a configuration file", nodesVar)
	}
	orElseOfFile(s, &s.ttl, "ttl", time.Duration(file.TTL))
	orElse(&s.ttl, redlock.DefaultTTL)
	orElseOfFile(s, &s.maxTTL, "max_ttl", time.Duration(file.MaxTTL))
	orElse(&s.maxTTL, max(s.ttl, redlock.DefaultTTL))
	orElseOfFile(s, &s.nodeTimeout, "node_timeout", time.Duration(file.NodeTimeout))
	orElseOfFile(s, &s.drift, "drift_factor", file.DriftFactor)
	orElse(&s.drift, redlock.DefaultDriftFactor)
	return nil
}

// orElseOfFile notes that a value is the file's, for errors about it.
func orElseOfFile[T comparable](s *settings, value *T, key string, other T) {
	var zero T
	if *value == zero && other != zero {
		*value = other
		s.fromFile = append(s.fromFile, key)
	}
}

// inFlags writes the names of the Locker's options as this program has them.
var inFlags = strings.NewReplacer("MaxTTL", "--max-ttl", "TTL", "--ttl", "NodeTimeout", "--node-timeout",
	"MaxHold", "--max-hold", "MinValidity", "least validity", "DriftFactor", "drift_factor")

// refusal is an error about settings, which tells of those that a file has.
func (s *settings) refusal(err error) error {
	if len(s.fromFile) == 0 {
		return usageError("%w", err)
	}
	return usageError("%w (configuration file %s has %s)", err, s.file, strings.Join(s.fromFile, ", "))
}

// aboveZero refuses durations of flags, where given, that are not.
func aboveZero(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		d, err := cmd.Flags().GetDuration(name)
		if err == nil && cmd.Flags().Changed(name) && d <= 0 {
			return usageError("--%s is %v: it must be above zero", name, d)
		}
	}
	return nil
}

// atLeast refuses numbers of flags that are less.
func atLeast(cmd *cobra.Command, least int, flags ...string) error {
	for _, name := range flags {
		if n, err := cmd.Flags().GetInt(name); err == nil && n < least {
			return usageError("--%s is %d: use at least %d", name, n, least)
		}
	}
	return nil
}

var commaBeforeURL = regexp.MustCompile(`,([A-Za-z][A-Za-z0-9+.-]*://)`)

// splitURLs splits a list of URLs at blanks, and at those commas that a URL follows:
// the hosts of a ZooKeeper ensemble have commas between them, too.
func splitURLs(list string) (urls []string) {
	for _, url := range strings.Fields(commaBeforeURL.ReplaceAllString(list, " $1")) {
		if url = strings.Trim(url, ","); url != "" {
			urls = append(urls, url)
		}
	}
	return urls
}

func orElse[T comparable](value *T, other T) {
	var zero T
	if *value == zero {
		*value = other
	}
}

// readFile reads the configuration file, if there is one.
func (s *settings) readFile() (fileSettings, error) {
	s.file = s.configFile
	orElse(&s.file, os.Getenv(configVar))
	if s.file != "" {
		return parseFile(s.file)
	}
	candidates := []string{systemConfig}
	if dir := userConfigDir(); dir != "" {
		candidates = append([]string{filepath.Join(dir, "redlock", "redlock.toml")}, candidates...)
	}
	for _, candidate := range candidates {
		file, err := parseFile(candidate)
		if !errors.Is(err, fs.ErrNotExist) {
			s.file = candidate
			return file, err
		}
	}
	return fileSettings{}, nil
}

func userConfigDir() string {
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config")
}

func parseFile(name string) (fileSettings, error) {
	var file fileSettings
	meta, err := toml.DecodeFile(name, &file)
	if err != nil {
		return file, usageError("configuration file %s: %w", name, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return file, usageError("configuration file %s: unknown key %q: known are nodes, ttl, max_ttl, node_timeout, drift_factor", name, unknown[0].String())
	}
	for key, d := range map[string]duration{"ttl": file.TTL, "max_ttl": file.MaxTTL, "node_timeout": file.NodeTimeout} {
		if meta.IsDefined(key) && d <= 0 {
			return file, usageError("configuration file %s: %s is %v: it must be above zero", name, key, time.Duration(d))
		}
	}
	if meta.IsDefined("drift_factor") && !(file.DriftFactor > 0 && file.DriftFactor < 1) { // NaN is neither
		return file, usageError("configuration file %s: drift_factor is %v: it must be above 0 and below 1", name, file.DriftFactor)
	}
	return file, nil
}

// options are the Locker's; an observer may be nil.
func (s *settings) options(cmd *cobra.Command, observer redlock.Observer) redlock.Options {
	if s.verbose {
		handler := slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug})
		observer = observers{redlock.LogObserver(slog.New(handler)), observer}
	}
	return redlock.Options{
		TTL:         s.ttl,
		MaxTTL:      s.maxTTL,
		NodeTimeout: s.nodeTimeout,
		MaxHold:     s.maxHold,
		DriftFactor: s.drift,
		Observer:    observer,
	}
}

// observers are told one after the other.
type observers []redlock.Observer

// Observe implements redlock.Observer.
func (all observers) Observe(ctx context.Context, e redlock.Event) {
	for _, o := range all {
		if o != nil {
			o.Observe(ctx, e)
		}
	}
}

// session is a Locker and its nodes, for one run of the program.
type session struct {
	locker *redlock.Locker
	nodes  []redlock.Node
	close  func()
}

// open makes the Locker that the settings ask for.
func (s *settings) open(cmd *cobra.Command, observer redlock.Observer) (*session, error) {
	if err := s.resolve(cmd); err != nil {
		return nil, err
	}
	logging.Disable() // go-redis would log failed dials to stderr; the votes tell of those
	nodes, closeNodes, err := nodeurl.OpenAll(cmd.Context(), s.nodes)
	if err != nil {
		return nil, s.refusal(errors.New(strings.TrimPrefix(err.Error(), "nodeurl: ")))
	}
	opts := s.options(cmd, observer)
	locker, err := redlock.New(nodes, opts)
	if err != nil {
		_ = closeNodes()
		return nil, s.refusal(errors.New(inFlags.Replace(err.Error())))
	}
	return &session{locker: locker, nodes: nodes, close: func() {
		ctx, cancel := redlock.SystemClock().WithTimeout(context.WithoutCancel(cmd.Context()), s.nodeTimeout+closeTimeout)
		defer cancel()
		_ = locker.Close(ctx) // what is not released by then, the nodes free by themselves
		_ = closeNodes()
	}}, nil
}

// closeTimeout bounds the end of the program, beyond a node timeout.
const closeTimeout = 2 * time.Second
