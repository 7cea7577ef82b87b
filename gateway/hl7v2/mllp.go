package hl7v2

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// The bytes of MLLP.
const (
	startBlock     = 0x0B
	endBlock       = 0x1C
	carriageReturn = 0x0D
)

// DefaultMaxFrame holds two documents of 8 MB in base64 in one ORU.
const DefaultMaxFrame = 24 << 20

const (
	headKept   = 4 << 10  // of a frame that is too large: enough for its MSH
	maxNoise   = 64 << 10 // bytes outside frames before the connection is given up
	readBuffer = 32 << 10
)

// What a reader says besides a frame.
var (
	// ErrTruncated: the connection ended inside a frame. Nothing was accepted.
	ErrTruncated = errors.New("mllp: connection ended inside a frame")
	// ErrNoise: what comes is not MLLP.
	ErrNoise = errors.New("mllp: too many bytes outside frames")
)

// Budget is the memory that all frames of a server may hold together. The zero
// value has no limit.
type Budget struct {
	Max  int64
	used atomic.Int64
}

func (b *Budget) take(n int64) bool {
	if b == nil || b.Max <= 0 {
		return true
	}
	if b.used.Add(n) > b.Max {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *Budget) give(n int64) {
	if b != nil && b.Max > 0 {
		b.used.Add(-n)
	}
}

// Reader reads MLLP frames. The end of a frame is 0x1C; the 0x0D that must
// follow is not waited for, because some senders forget it and wait for their
// answer: it is skipped when the next frame is looked for. A 0x0B inside a
// frame begins a new one: the sender gave the first up.
type Reader struct {
	r         *bufio.Reader
	max       int
	budget    *Budget
	Noise     int64  // bytes seen outside frames, CR and LF apart
	Abandoned int64  // frames that a new start block cut short
	Begun     func() // called at each start block, if set
}

// NewReader makes a reader of frames of at most max bytes (0: DefaultMaxFrame).
func NewReader(r io.Reader, max int, budget *Budget) *Reader {
	if max <= 0 {
		max = DefaultMaxFrame
	}
	return &Reader{r: bufio.NewReaderSize(r, readBuffer), max: max, budget: budget}
}

// Buffered tells whether a frame that began to arrive waits to be read. The
// final CR of the frame before is none.
func (r *Reader) Buffered() bool {
	b, _ := r.r.Peek(r.r.Buffered())
	return bytes.IndexByte(b, startBlock) >= 0
}

// Frame is one message. Bytes are its own; Release gives their share of the
// budget back and must be called once.
type Frame struct {
	Bytes   []byte
	held    int64
	budget  *Budget
	Refused *Refusal // too large, or busy: Bytes is only its beginning
}

// Release gives the frame's share of the budget back.
func (f *Frame) Release() {
	f.budget.give(f.held)
	f.held = 0
}

// Next reads one frame. io.EOF means that the connection ended between frames.
func (r *Reader) Next() (*Frame, error) {
	if err := r.seek(); err != nil {
		return nil, err
	}
	f := &Frame{budget: r.budget}
	skipped := 0
	for {
		chunk, err := r.r.ReadSlice(endBlock)
		if i := bytes.LastIndexByte(chunk, startBlock); i >= 0 {
			r.Abandoned++
			f.Release()
			f.Bytes, f.Refused, skipped = nil, nil, 0
			chunk = chunk[i+1:]
		}
		ended := err == nil
		if ended {
			chunk = chunk[:len(chunk)-1]
		}
		if f.Refused == nil {
			r.grow(f, chunk)
		}
		if f.Refused != nil {
			skipped += len(chunk)
		}
		switch {
		case ended:
			return f, nil
		case errors.Is(err, bufio.ErrBufferFull):
			if skipped > 4*r.max {
				// Whoever sends without end is not answered in the end either.
				f.Release()
				return nil, ErrNoise
			}
		case errors.Is(err, io.EOF):
			f.Release()
			return nil, ErrTruncated
		default:
			f.Release()
			return nil, err
		}
	}
}

// seek skips to the next start block.
func (r *Reader) seek() error {
	noise := 0
	for {
		c, err := r.r.ReadByte()
		if err != nil {
			return err
		}
		switch c {
		case startBlock:
			if r.Begun != nil {
				r.Begun()
			}
			return nil
		case '\r', '\n':
		default:
			r.Noise++
			if noise++; noise > maxNoise {
				return ErrNoise
			}
		}
	}
}

// grow appends to the frame as bytes come, never on the word of a sender.
func (r *Reader) grow(f *Frame, chunk []byte) {
	need := len(f.Bytes) + len(chunk)
	if need > r.max {
		r.refuseFrame(f, chunk, FaultFrameTooLarge)
		return
	}
	if need > cap(f.Bytes) {
		size := min(max(2*cap(f.Bytes), need, 4<<10), r.max)
		if !r.budget.take(int64(size)) {
			r.refuseFrame(f, chunk, FaultBusy)
			return
		}
		grown := make([]byte, len(f.Bytes), size)
		copy(grown, f.Bytes)
		r.budget.give(f.held)
		f.Bytes, f.held = grown, int64(size)
	}
	f.Bytes = append(f.Bytes, chunk...)
}

func (r *Reader) refuseFrame(f *Frame, chunk []byte, code string) {
	head := make([]byte, 0, headKept)
	head = append(head, f.Bytes[:min(len(f.Bytes), headKept)]...)
	head = append(head, chunk[:min(len(chunk), headKept-len(head))]...)
	f.Release()
	f.Bytes, f.Refused = head, refuse(code, "")
}

// copied is the size up to which framing copies a message, so that it leaves in
// one write whatever the connection.
const copied = 64 << 10

// WriteFrame frames one message. A large one is not copied: it leaves in one
// system call on a plain connection, in three writes on any other.
func WriteFrame(w io.Writer, message []byte) error {
	if len(message) > copied {
		frame := net.Buffers{{startBlock}, message, {endBlock, carriageReturn}}
		_, err := frame.WriteTo(w)
		return err
	}
	b := make([]byte, 0, len(message)+3)
	b = append(b, startBlock)
	b = append(b, message...)
	b = append(b, endBlock, carriageReturn)
	_, err := w.Write(b)
	return err
}
