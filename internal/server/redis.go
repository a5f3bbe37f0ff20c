package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// StartRedis starts a redis-server that keeps nothing on disk. Arguments are added
// to its command line and win over the defaults, for instance "--appendonly",
// "yes". A clock, if not nil, is the server's.
func StartRedis(dir string, clock *Clock, args ...string) (*Server, error) {
	return start(redisKind, dir, clock, args)
}

var redisKind = kind{
	name:     "redis-server",
	patience: 20 * time.Second, // a start takes 15 ms on an idle machine
	command:  redisCommand,
	ready:    awaitText("Ready to accept connections"),
}

func redisCommand(s *Server) (string, []string, error) {
	path, err := program("redis-server", "apt-get install redis-server, or brew install redis")
	return path, append([]string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(s.port),
		"--dir", s.Data(),
		"--save", "",
		"--appendonly", "no",
		"--loglevel", "notice",
	}, s.args...), err
}

// RedisCommand sends one command, without quoting, to a redis-server and gives the
// first line of its answer.
func RedisCommand(addr, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	line = strings.TrimSpace(line)
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("redis-server: %s: %s", command, line[1:])
	}
	return line, err
}
