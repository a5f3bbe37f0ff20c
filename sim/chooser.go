package sim

import "math/bits"

// chooser is the only source of choice in a world. Each link, client and node
// draws from a stream of its own, so that leaving out one fault or message
// changes what others draw as little as possible: that is what lets a failing
// run be made smaller.
type chooser struct {
	streams []uint64
	bytes   []byte // a fuzzer's: they come first
	draws   uint64 // for the hash
	tape    *tape  // keeps the choices, or makes them
}

// newChooser has n streams that all follow from the seed.
func newChooser(seed uint64, n int, bytes []byte) chooser {
	c := chooser{streams: make([]uint64, n), bytes: bytes}
	for i := range c.streams {
		c.streams[i] = mix(seed+uint64(i)*0x9E3779B97F4A7C15, uint64(i)+1)
	}
	return c
}

// bits64 draws 64 bits.
func (c *chooser) bits64(stream int) uint64 {
	c.draws++
	if c.tape != nil {
		return c.tape.next(func() uint64 { return c.random(stream) })
	}
	return c.random(stream)
}

// random is the source of the streams (splitmix64).
func (c *chooser) random(stream int) uint64 {
	if len(c.bytes) > 0 {
		b := uint64(c.bytes[0])
		c.bytes = c.bytes[1:]
		return b * 0x0101010101010101
	}
	c.streams[stream] += 0x9E3779B97F4A7C15
	z := c.streams[stream]
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// below draws from [0, n); 0 for n <= 1, without a draw.
func (c *chooser) below(stream int, n int64) int64 {
	if n <= 1 {
		return 0
	}
	c.draws++
	if c.tape != nil {
		return min(n-1, int64(c.tape.next(func() uint64 { return scaled(c.random(stream), n) })&(1<<63-1)))
	}
	return int64(scaled(c.random(stream), n))
}

// scaled makes a number below n of random bits.
func scaled(random uint64, n int64) uint64 {
	hi, _ := bits.Mul64(random, uint64(n))
	return hi
}

// chance is true ppm times in a million.
func (c *chooser) chance(stream int, ppm int64) bool {
	if ppm <= 0 {
		return false
	}
	c.draws++
	if c.tape != nil {
		return c.tape.next(func() uint64 { return b2u(scaled(c.random(stream), million) < uint64(ppm)) }) != 0
	}
	return scaled(c.random(stream), million) < uint64(ppm)
}

// exponential draws from an exponential distribution with the given mean.
func (c *chooser) exponential(stream int, mean int64) int64 {
	if mean <= 0 {
		return 0
	}
	c.draws++
	if c.tape != nil {
		return int64(c.tape.next(func() uint64 { return uint64(exponential(c.random(stream), mean)) }) & (1<<48 - 1))
	}
	return exponential(c.random(stream), mean)
}

// exponential reckons in integers: -log2 of a uniform number is its leading zeros
// and a fraction that is nearly linear.
func exponential(random uint64, mean int64) int64 {
	r := random | 1
	zeros := bits.LeadingZeros64(r)
	fraction := int64(1023 - r<<(zeros+1)>>54)
	const ln2 = 710 // of 1024
	log := (int64(zeros)<<10 + fraction) * ln2 >> 10
	return mean/1024*log + mean%1024*log/1024
}

// mix folds x into a hash.
func mix(h, x uint64) uint64 {
	h = (h ^ x) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}
