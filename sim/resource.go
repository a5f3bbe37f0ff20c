package sim

// resource is what the lock protects, twice: one remembers the largest token it
// has seen and refuses smaller ones, the other takes every write.
type resource struct {
	largest uint64
	by      uint32 // the attempt that wrote with it

	unfenced uint64 // the token of the last write to the one that takes all
}

// arrived is a write's arrival.
func (w *world) arrived(e event) {
	a := w.attempts[e.a()-1]
	r := &w.resource
	if a.token < r.unfenced {
		w.stats.LostUpdates++
	}
	r.unfenced = a.token
	switch {
	case a.token < r.largest && w.cfg.Without.Has(FencedResource):
		w.violate(Fencing, w.attempts[r.by-1], a, "The resource took a write of %s with token %s, after one with token %s",
			w.label(a), brief(a.token), brief(r.largest))
	case a.token < r.largest:
		w.stats.Rejected++
		w.noteArrived(a, e.b(), false)
	case a.token == r.largest && r.by != a.id:
		w.violate(Fencing, w.attempts[r.by-1], a, "two holders wrote with the same token %s", brief(a.token))
	default:
		r.largest, r.by = a.token, a.id
		w.stats.Accepted++
		w.noteArrived(a, e.b(), true)
	}
}
