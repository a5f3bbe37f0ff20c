//go:build !linux

package lockers

import "errors"

func openBySyscalls(Where) (Locker, error) {
	return nil, errors.New("written for Linux's epoll")
}
