// Package chaos runs the lock as it ships on real servers, injects faults while
// it does, and judges the whole history afterwards. The simulator shows that the
// protocol is right; this shows that the program is.
//
// Redis, MariaDB and ZooKeeper servers run as child processes on the loopback
// interface, each behind one proxy for every client, so that any link can be cut,
// held, slowed or broken in either direction. Clients are processes too, this very
// program run again, so that they can be frozen and killed. What the lock protects
// is kept by yet another process, twice: fenced and unfenced. All of them write down what they
// do, by one clock, the machine's.
//
// The faults are those of package sim, in its words, and its stories are told
// here as well, so many times shorter, where real servers can have such a fault.
// The history goes through the simulator's own checkers and to porcupine.
//
// Every process ends with the one that started it. Nothing listens on anything but
// 127.0.0.1.
package chaos
