// Package server starts real servers as child processes and breaks them on
// purpose: it kills, freezes, restarts and robs them, sets their clocks, and
// puts links in front of them that lose, keep or delay what passes.
//
// A server listens on 127.0.0.1 on a free port, keeps its files in the directory
// that it is given, and is gone when it is closed, or when this process dies where
// the system can see to that (Linux).
//
// Everything gives errors and nothing knows of tests: testserver wraps it for
// those, and sim/chaos is a program.
package server
