package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock"
)

func newUnlockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unlock --force KEY",
		Short: "Take a lock away from whoever holds it",
		Long: `unlock releases KEY on every node, whoever holds it. The holder is not asked. It
loses its lock at its next renewal, up to a third of its TTL later; until then it
works on, and so may the next holder: two at once, which only a resource that
checks fencing tokens survives.

There is seldom a need. A holder that died is forgotten after its TTL anyway;
"redlock inspect KEY" shows when. So unlock does nothing without --force.

` + settingsHint + `
Exit status:
  0    the lock was released
  1    nobody held it
  64   bad usage or configuration, or --force is missing
  69   no quorum: too few nodes did as told`,
		Example: `  # The holder is known to be dead, and an hour is too long to wait.
  redlock inspect nightly-backup && redlock unlock --force nightly-backup`,
		Args: oneKey,
	}
	s := addFlags(cmd)
	force := cmd.Flags().Bool("force", false, "yes, even though the holder may be at work")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*force {
			return usageError("unlock takes the lock away from a holder that may be at work, and two may then work at once; if it is certainly dead, say --force")
		}
		sess, err := s.open(cmd, nil)
		if err != nil {
			return err
		}
		defer sess.close()
		err = sess.locker.ForceUnlock(cmd.Context(), args[0])
		if *asJSON {
			return withFailure(quiet(err), printJSON(cmd.OutOrStdout(), newUnlockView(args[0], err)))
		}
		said := fmt.Sprintf("released %q\n", args[0])
		switch {
		case errors.Is(err, redlock.ErrNotHeld):
			said = fmt.Sprintf("nobody held %q%s\n", args[0], blocking(args[0], err))
		case err != nil:
			return notLocked(err)
		}
		_, failed := io.WriteString(cmd.OutOrStdout(), said)
		return withFailure(quiet(err), failed)
	}
	return cmd
}

// unlockView is what unlock shows, as its JSON has it.
type unlockView struct {
	Key      string `json:"key"`
	Released bool   `json:"released"`        // false: nobody held it, or there is an error
	Error    string `json:"error,omitempty"` // it may be released on some nodes; or why nobody can get it
}

func newUnlockView(key string, err error) unlockView {
	view := unlockView{Key: key, Released: err == nil}
	switch {
	case errors.Is(err, redlock.ErrNotHeld):
		view.Error = strings.TrimPrefix(blocking(key, err), ": ")
	case err != nil:
		view.Error = notLocked(err).Error()
	}
	return view
}

// blocking is the rest of an error that nobody held the key: why nobody can get it all
// the same. It is empty if there is nothing of that kind.
func blocking(key string, err error) string {
	_, more, _ := strings.Cut(err.Error(), fmt.Sprintf("%q: %v", key, redlock.ErrNotHeld))
	return more
}
