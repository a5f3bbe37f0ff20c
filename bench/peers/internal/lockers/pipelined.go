package lockers

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// pipelined has one worker for a node: it takes whatever requests wait, sends them
// as one go-redis pipeline, and hands the answers out.
type pipelined struct {
	client   *redis.Client
	script   *redis.Script
	requests chan request
	done     chan struct{}
}

type request struct {
	release    bool
	key, owner string
	answers    chan<- bool
}

// maxBatch bounds a pipeline.
const maxBatch = 512

func openPipelined(at Where) (Locker, error) {
	l := &raw{}
	for _, c := range goRedisClients(at.Redis) {
		w := &pipelined{c, redis.NewScript(compareAndDelete), make(chan request, 4096), make(chan struct{})}
		if err := w.script.Load(context.Background(), c).Err(); err != nil {
			return nil, err
		}
		go w.work()
		l.nodes = append(l.nodes, w)
	}
	return l, nil
}

func (w *pipelined) acquire(key, owner string, answers chan<- bool) {
	w.submit(request{false, key, owner, answers})
}

func (w *pipelined) release(key, owner string, answers chan<- bool) {
	w.submit(request{true, key, owner, answers})
}

// submit drops what does not fit: a node that is that far behind does not vote.
func (w *pipelined) submit(r request) {
	select {
	case w.requests <- r:
	default:
		r.answers <- false
	}
}

func (w *pipelined) close() {
	close(w.done)
	_ = w.client.Close()
}

func (w *pipelined) work() {
	ctx := context.Background()
	batch := make([]request, 0, maxBatch)
	for {
		select {
		case r := <-w.requests:
			batch = append(batch[:0], r)
		case <-w.done:
			return
		}
		batch = w.fill(batch)
		pipe := w.client.Pipeline()
		commands := make([]redis.Cmder, len(batch))
		for i, r := range batch {
			if r.release {
				commands[i] = w.script.EvalSha(ctx, pipe, []string{r.key}, r.owner)
			} else {
				commands[i] = pipe.SetNX(ctx, r.key, r.owner, TTL) //nolint:staticcheck // what raw code uses
			}
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, r := range batch {
			r.answers <- agreed(commands[i])
		}
	}
}

// fill takes what waits, and no more.
func (w *pipelined) fill(batch []request) []request {
	for len(batch) < maxBatch {
		select {
		case r := <-w.requests:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

func agreed(command redis.Cmder) bool {
	switch c := command.(type) {
	case *redis.BoolCmd:
		return c.Val() && c.Err() == nil
	case *redis.Cmd:
		n, err := c.Int()
		return n == 1 && err == nil
	}
	return false
}
