package mqtt

import "sync"

// queue is a first-in first-out list between goroutines whose push never
// blocks. It has no bound of its own: each use says what bounds it.
type queue[T any] struct {
	mu     sync.Mutex
	items  []T
	closed bool
	// ready holds one token while items may be non-empty.
	ready chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{ready: make(chan struct{}, 1)} }

// push reports whether x was queued; after close nothing is.
func (q *queue[T]) push(x T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.items = append(q.items, x)
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns everything queued, oldest first.
func (q *queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// close refuses further pushes and returns what was still queued.
func (q *queue[T]) close() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	items := q.items
	q.items = nil
	return items
}
