package protocol

import (
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Two majorities that share no node could have two holders.
func TestAnyTwoMajoritiesShareANode(t *testing.T) {
	for nodes := 1; nodes <= MaxNodes; nodes++ {
		require.Greater(t, 2*Majority(nodes), nodes)
		require.LessOrEqual(t, 2*(Majority(nodes)-1), nodes, "and it is the least such number")
	}
}

// A margin rounded down is a holder who relies on a nanosecond too much.
func TestMarginIsRoundedUp(t *testing.T) {
	for _, c := range []struct {
		ppm         int64
		ttl, margin time.Duration
	}{
		{10_000, 10 * time.Second, 102 * time.Millisecond},
		{10_000, 100, 2*time.Millisecond + 1},
		{10_000, 99, 2*time.Millisecond + 1},
		{10_000, 101, 2*time.Millisecond + 2},
		{10_000, 0, 2 * time.Millisecond},
		{0, time.Hour, 2 * time.Millisecond},
		{1, 1, 2*time.Millisecond + 1},
		{1, 1_000_000, 2*time.Millisecond + 1},
		{1, 1_000_001, 2*time.Millisecond + 2},
		{999_999, time.Hour, time.Hour - 3_600_000 + 2*time.Millisecond},
	} {
		cfg := Config{DriftPPM: c.ppm}
		require.Equal(t, c.margin, cfg.Margin(c.ttl), "%d ppm of %v", c.ppm, c.ttl)
	}
}

// FuzzMargin compares the margin with arithmetic that cannot overflow, for all
// that options let through: a year, and drift below one.
func FuzzMargin(f *testing.F) {
	f.Add(int64(10*time.Second), int64(10_000))
	f.Add(int64(365*24*time.Hour), int64(999_999))
	f.Add(int64(1), int64(1))
	f.Add(int64(999_999), int64(999_999))
	f.Fuzz(func(t *testing.T, ttl, ppm int64) {
		const year = int64(365 * 24 * time.Hour)
		ttl, ppm = ttl&(1<<62-1)%year, ppm&(1<<62-1)%1_000_000
		drift, rest := new(big.Int), new(big.Int)
		drift.DivMod(new(big.Int).Mul(big.NewInt(ttl), big.NewInt(ppm)), big.NewInt(1_000_000), rest)
		if rest.Sign() > 0 {
			drift.Add(drift, big.NewInt(1))
		}
		want := drift.Add(drift, big.NewInt(int64(2*time.Millisecond)))
		cfg := Config{DriftPPM: ppm}
		if got := cfg.Margin(time.Duration(ttl)); !want.IsInt64() || int64(got) != want.Int64() {
			t.Fatalf("margin of %d at %d ppm is %d, want %v", ttl, ppm, got, want)
		}
	})
}
