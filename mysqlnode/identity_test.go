package mysqlnode

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const second = time.Second

// clockAt is a server's clock so long after it started in the second 1000.
func clockAt(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }

// What a server said first stands: its clock may be set meanwhile.
func TestAgeIsCountedOnOurClock(t *testing.T) {
	var i identity
	require.Equal(t, identified{incarnation: "a:1/x/1000", age: 9 * second}, i.learn("a:1/x/1000", clockAt(10*second), 50*second, 50*second))
	require.Equal(t, 14*second, i.learn("a:1/x/1000", clockAt(time.Hour), 55*second, 56*second).age)
	require.Equal(t, 20*second, i.latest(61*second).age)
}

// A server that has started in this very second has an age that is not zero,
// which would say that it never loses anything.
func TestAgeOfANewbornIsNotZero(t *testing.T) {
	var i identity
	require.EqualValues(t, 1, i.learn("a:1/x/1000", clockAt(0), 50*second, 50*second).age)
}

func TestRestart(t *testing.T) {
	var i identity
	i.learn("a:1/x/1000", clockAt(time.Hour), 0, 0)
	got := i.learn("a:1/x/1005", clockAt(8*second), 10*second, 10*second)
	require.Equal(t, identified{incarnation: "a:1/x/1005", age: 2 * second}, got)

	late := i.learn("a:1/x/1000", clockAt(time.Hour), 9*second, 11*second)
	require.Equal(t, identified{incarnation: "a:1/x/1000", age: 1}, late, "a late word of the dead one")
	require.Equal(t, "a:1/x/1005", i.latest(12*second).incarnation)
}

// Whoever takes over has not granted what its predecessor had, however long it
// has been running.
func TestFailover(t *testing.T) {
	var i identity
	i.learn("a:1/x/1000", clockAt(time.Hour), 0, 0)
	got := i.learn("b:1/y/500", clockAt(time.Hour), 10*second, 10*second)
	require.Equal(t, identified{incarnation: "b:1/y/500", age: 1, moved: true}, got)
	require.Equal(t, 5*second, i.learn("b:1/y/500", clockAt(time.Hour), 15*second, 15*second).age)
}

func TestLives(t *testing.T) {
	var i identity
	require.Empty(t, i.recall("a:1", 5))
	for n := range int64(100) {
		i.remember("a:1", n, "life")
		require.Equal(t, "life", i.recall("a:1", n))
	}
	require.LessOrEqual(t, len(i.lives), 16)
}

func TestIdleSeconds(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{
		1: 2, second: 2, second + 1: 3, 2*second - 1: 3, 1000 * time.Hour * 24: 365 * 24 * 3600,
	} {
		require.Equal(t, want, idleSeconds(ttl), ttl)
	}
}

func TestTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"5.6.51": true, "5.7.44-log": false, "8.4.3": false, "9.1.0": false, "": false, "odd": false,
		"10.1.48-MariaDB": true, "10.11.6-MariaDB-1": false, "5.5.5-10.0.38-MariaDB": true, "11.4.2-MariaDB": false,
	} {
		require.Equal(t, want, tooOld(version), version)
	}
}
