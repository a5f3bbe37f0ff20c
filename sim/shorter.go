package sim

import "time"

// Shorter is the same world, work and faults with every duration divided by
// scale, but for those of the network: what takes minutes in a simulation, where
// minutes cost nothing, must take seconds on real servers.
func (c Config) Shorter(scale int) Config {
	by := time.Duration(max(1, scale))
	for _, d := range []*time.Duration{&c.TTL, &c.MaxTTL, &c.MinValidity, &c.NodeTimeout, &c.MaxHold, &c.OutageWait, &c.HealAt} {
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
		for _, d := range []*time.Duration{&f.At, &f.For, &f.Losing} {
			*d /= by
		}
		if f.Verb != Repeat && f.Verb != Aim && f.Verb != Shake {
			f.By /= by
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
