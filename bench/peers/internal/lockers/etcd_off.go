//go:build !etcd

package lockers

import "errors"

func openEtcd(Where) (Locker, error) { return nil, errors.New("built without -tags etcd") }
