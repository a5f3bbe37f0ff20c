// Command redlock runs commands under a lock that a majority of independent
// servers agree on, and shows and mends such locks: flock across machines.
// "redlock help" explains it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but for the process around it, and gives its exit
// status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	out := &standardOutput{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	addCompletion(root)
	cmd, err := root.ExecuteC()
	return report(stderr, cmd, out.join(err))
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "redlock COMMAND",
		Short: "Run commands under a lock that a majority of servers agree on",
		Long: `redlock takes a lock on several independent servers at once and holds it while
a majority of them agree. A minority of them may crash, hang or be cut off: the
lock holds, and is still to be had.

` + settingsHelp + exitHelp,
		Example: `  # Run a backup on one machine at a time; others wait for their turn.
  export REDLOCK_NODES="redis://10.0.0.1 redis://10.0.0.2 redis://10.0.0.3"
  redlock run nightly-backup -- /usr/local/bin/backup --full

  # Are the servers fit to vote? Who holds the lock?
  redlock nodes
  redlock inspect nightly-backup`,
		Args:          noSuchCommand,
		RunE:          noCommand,
		SilenceErrors: true,

		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		Version:                    versionLine(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "show the version") // or cobra would take -v for it
	root.SetHelpCommand(newHelpCommand())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%v", err) })
	root.AddCommand(newRunCommand(), newInspectCommand(), newUnlockCommand(), newNodesCommand(), newBenchCommand(), newDemoCommand(), newSimCommand(), newChaosCommand(), newVersionCommand())
	return root
}

func noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usageError("there is no command %q", args[0])
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		err = usageError("there is no command %q; did you mean %q?", args[0], near[0])
	}
	return err
}

// noArgs is the arguments of a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no arguments", cmd.Name())
	}
	return nil
}

func noCommand(root *cobra.Command, _ []string) error {
	root.SetOut(root.ErrOrStderr())
	_ = root.Help()
	return &exitError{status: exitUsage}
}

// report prints an error, if there is one to print, and gives the exit status.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = classify(err)
	}
	if exit.err != nil {
		say(stderr, "%v", exit.err)
	}
	if exit.status == exitUsage && exit.err != nil {
		fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
	}
	return exit.status
}
