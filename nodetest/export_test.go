package nodetest

import "time"

// Patience shortens the wait for calls that never end.
func Patience(d time.Duration) Option { return func(c *config) { c.patience = d } }

// Rules are the names and texts of the rules.
func Rules() (names, texts []string) {
	for _, r := range rules {
		names, texts = append(names, r.name), append(texts, r.text)
	}
	return names, texts
}
