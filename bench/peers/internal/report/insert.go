package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// The lines that tables are put between.
const (
	beginMark = "<!-- The tables from here on are written by bench/peers, with -report and -into. -->\n"
	endMark   = "<!-- The tables end here. -->\n"
)

// Insert puts the tables into a file, in the place of those that are there. It says
// which raw figures they are of.
func (r *Results) Insert(path, raw string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(text, []byte(beginMark))
	_, after, ends := bytes.Cut(rest, []byte(endMark))
	if !begins || !ends {
		return fmt.Errorf("%s has no place for tables: it needs the lines\n%s%s", path, beginMark, endMark)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(beginMark + "\n")
	r.WriteMarkdown(&b)
	fmt.Fprintf(&b, "\nThe raw figures, round by round, are in `bench/results/%s`.\n\n%s", filepath.Base(raw), endMark)
	b.Write(after)
	return os.WriteFile(path, b.Bytes(), 0o644)
}
