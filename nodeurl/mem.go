package nodeurl

import (
	"fmt"
	"net/url"
	"sync"

	"github.com/quorumlock/redlock"
	"github.com/quorumlock/redlock/memnode"
)

// memNodes are the nodes opened by name. They last as long as the process: a
// node that went away with its last user would forget who holds what.
var memNodes struct {
	sync.Mutex
	byName map[string]redlock.Node
}

func openMem(u *url.URL, form string) (redlock.Node, error) {
	if u.User != nil || u.Host == "" || u.Path != "" {
		return nil, fmt.Errorf("it is a name and nothing else: write %s", form)
	}
	if err := (params{}).apply(u.RawQuery); err != nil {
		return nil, err
	}
	memNodes.Lock()
	defer memNodes.Unlock()
	if node, ok := memNodes.byName[u.Host]; ok {
		return node, nil
	}
	node := memnode.New(memnode.Options{Name: u.Host})
	if memNodes.byName == nil {
		memNodes.byName = make(map[string]redlock.Node)
	}
	memNodes.byName[u.Host] = node
	return node, nil
}
