package chaos

import "time"

// chance is a seeded source of choices (splitmix64). It is not safe for concurrent
// use.
type chance struct{ state uint64 }

// newChance has one stream for each use of a seed.
func newChance(seed uint64, stream int) *chance {
	c := &chance{state: seed + uint64(stream)*0x632BE59BD9B4E019}
	c.bits()
	return c
}

func (c *chance) bits() uint64 {
	c.state += 0x9E3779B97F4A7C15
	z := c.state
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// below draws from [0, n); 0 for n <= 1.
func (c *chance) below(n int) int {
	if n <= 1 {
		return 0
	}
	return int(c.bits() % uint64(n))
}

// between draws a duration.
func (c *chance) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.bits()%uint64(max(1, most-least)))
}
