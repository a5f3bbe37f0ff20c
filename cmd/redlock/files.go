package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// checkFiles sees to it that files can be written, before the work begins whose
// outcome they are for. An empty name is of no file. What is there stays as it is.
func checkFiles(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		if err := checkFile(path); err != nil {
			return usageError("%v", err)
		}
	}
	return nil
}

func checkFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil // to open a pipe or a device is more than a look
	}
	_, err = os.Lstat(path)
	isNew := errors.Is(err, fs.ErrNotExist) // a link to nowhere is not, and stays
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if isNew {
		return errors.Join(f.Close(), os.Remove(path))
	}
	return f.Close()
}

// makeDir makes a directory, unless its name is empty, and sees to it that files can
// be made in it.
func makeDir(dir string, mode fs.FileMode) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return usageError("%v", err)
	}
	f, err := os.CreateTemp(dir, ".redlock-*")
	if err != nil {
		return usageError("%v", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func createFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// withFailure ends the program as a verdict says, and tells also of output that could
// not be written. That alone is an error, too.
func withFailure(verdict, failed error) error {
	if verdict == nil || failed == nil {
		return errors.Join(verdict, failed)
	}
	exit := new(exitError)
	if !errors.As(verdict, &exit) {
		exit = classify(verdict)
	}
	return &exitError{status: exit.status, err: errors.Join(exit.err, failed)}
}
