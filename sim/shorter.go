package sim

import "time"

// Shorter is the same world, work and faults with every duration divided by
// scale: what takes minutes in a simulation, where minutes cost nothing, must take
// seconds on real servers.
func (c Config) Shorter(scale int) Config {
	by := time.Duration(max(1, scale))
	for _, d := range []*time.Duration{&c.TTL, &c.MaxTTL, &c.MinValidity, &c.NodeTimeout, &c.MaxHold, &c.OutageWait, &c.HealAt, &c.Latency, &c.Jitter} {
		*d /= by
	}
	c.Work = c.Work.shorter(by)
	plans := c.Plans
	c.Plans = nil
	for _, p := range plans {
		c.Plans = append(c.Plans, p.shorter(by))
	}
	faults := c.Faults
	c.Faults = nil
	for _, f := range faults {
		for _, d := range []*time.Duration{&f.At, &f.For, &f.Losing, &f.By} {
			*d /= by
		}
		c.Faults = append(c.Faults, f)
	}
	return c
}

func (w Work) shorter(by time.Duration) Work {
	for _, d := range []*time.Duration{&w.Start, &w.Think, &w.Hold, &w.WriteEvery, &w.ExtendBy, &w.Patience} {
		*d /= by
	}
	return w
}
