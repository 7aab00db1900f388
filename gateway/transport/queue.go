package transport

import (
	"slices"
	"sync"
)

// queue holds the frames that wait for one socket. It exists only while something waits.
type queue struct {
	frames [][]byte
	offset int // of frames[0]: what was written of it already
	bytes  int // that wait in all
}

var queues = sync.Pool{New: func() any { return new(queue) }}

// keepFrames bounds what a queue in the pool holds on to.
const keepFrames = 64

func (q *queue) push(frame []byte) {
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
}

// written takes n bytes off the front.
func (q *queue) written(n int) {
	q.bytes -= n
	n += q.offset
	done := 0
	for done < len(q.frames) && n >= len(q.frames[done]) {
		n -= len(q.frames[done])
		done++
	}
	q.frames = slices.Delete(q.frames, 0, done)
	q.offset = n
}

// release gives an empty or abandoned queue back to the pool.
func (q *queue) release() {
	clear(q.frames)
	if cap(q.frames) > keepFrames {
		q.frames = nil
	}
	*q = queue{frames: q.frames[:0]}
	queues.Put(q)
}

// scratch joins frames, so that what waits for a socket leaves in one write. In a fan-out one socket after another has
// the same frames waiting: they are joined once.
type scratch struct {
	buf    []byte
	joined [][]byte // what buf holds
}

const scratchBytes = 64 << 10

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, 0, scratchBytes)} }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) release() {
	clear(s.joined)
	s.joined, s.buf = s.joined[:0], s.buf[:0]
	scratches.Put(s)
}

// head returns the bytes to write next: the frames at the front of q, as many as fit in one write.
func (s *scratch) head(q *queue) []byte {
	if len(q.frames) == 1 || len(q.frames[0])-q.offset > scratchBytes {
		return q.frames[0][q.offset:]
	}
	if q.offset == 0 && s.holds(q.frames) {
		return s.buf
	}
	clear(s.joined)
	s.joined, s.buf = s.joined[:0], append(s.buf[:0], q.frames[0][q.offset:]...)
	if q.offset == 0 {
		s.joined = append(s.joined, q.frames[0])
	}
	for _, f := range q.frames[1:] {
		if len(s.buf)+len(f) > scratchBytes {
			break
		}
		s.buf = append(s.buf, f...)
		if q.offset == 0 {
			s.joined = append(s.joined, f)
		}
	}
	return s.buf
}

func (s *scratch) holds(frames [][]byte) bool {
	if len(s.joined) == 0 || len(s.joined) != len(frames) {
		return false
	}
	for i, f := range frames {
		if &f[0] != &s.joined[i][0] {
			return false
		}
	}
	return true
}
