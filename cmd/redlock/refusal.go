package main

import (
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
)

// refused says whether a node's error is an answer of its server's, which may want
// other credentials, rights or tables. Other errors come of the way to it.
func refused(err error) bool {
	var ofRedis redis.Error
	var ofMySQL *mysql.MySQLError
	return errors.As(err, &ofRedis) || errors.As(err, &ofMySQL) ||
		errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrInvalidACL) || errors.Is(err, zk.ErrAuthFailed)
}
