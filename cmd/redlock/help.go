package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumlock/redlock/sim"
	"github.com/quorumlock/redlock/sim/chaos"
)

// newHelpCommand is cobra's, but that it has no help for what is no command.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		Long:  "help shows the help of a command, as its --help does.",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest := descend(cmd.Root(), args)
			if err := noSuchCommand(topic, rest); err != nil {
				return err
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			topic, rest := descend(cmd.Root(), args)
			for _, c := range topic.Commands() {
				if len(rest) == 0 && c.IsAvailableCommand() && strings.HasPrefix(c.Name(), begun) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// descend follows the names of commands from a command on, as far as there are such
// commands.
func descend(cmd *cobra.Command, names []string) (found *cobra.Command, rest []string) {
	for i, name := range names {
		next := cmd
		for _, c := range cmd.Commands() {
			if c.Name() == name {
				next = c
			}
		}
		if next == cmd {
			return cmd, names[i:]
		}
		cmd = next
	}
	return cmd, nil
}

// completeStories completes the first argument to the name of a story.
func completeStories(stories func() []sim.Scenario) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		for _, s := range stories() {
			if len(args) == 0 && strings.HasPrefix(s.Name, begun) {
				names = append(names, cobra.CompletionWithDesc(s.Name, s.Title))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// addQuorum adds the flag that chooses kinds of nodes, which shells complete.
func addQuorum(cmd *cobra.Command, quorum *string, otherwise, usage string) {
	cmd.Flags().StringVar(quorum, "quorum", otherwise, usage+": "+strings.Join(chaos.Quorums(), ", "))
	err := cmd.RegisterFlagCompletionFunc("quorum", cobra.FixedCompletions(chaos.Quorums(), cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // there is the flag
	}
}

// addCompletion adds cobra's command, and has it refuse what it does not know. It
// prints to where the root does by now.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _ := descend(root, []string{"completion"})
	completion.Args, completion.RunE = noSuchCommand, noCommand
	for _, shell := range completion.Commands() {
		shell.Args = noArgs
	}
}
