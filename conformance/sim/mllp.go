package sim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// maxFrame bounds a message: two documents of 20 MB in base64.
const maxFrame = 64 << 20

const (
	startBlock = 0x0b
	endBlock   = 0x1c
	carriage   = 0x0d
)

// readFrame reads one MLLP frame; what stands before its start is skipped.
func readFrame(r *bufio.Reader) ([]byte, error) {
	for skipped := 0; ; skipped++ {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == startBlock {
			break
		}
		if skipped > 1024 {
			return nil, errors.New("mllp: no start of block")
		}
	}
	var frame []byte
	for {
		part, err := r.ReadSlice(endBlock)
		frame = append(frame, part...)
		if len(frame) > maxFrame {
			return nil, errors.New("mllp: frame too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		next, err := r.ReadByte()
		if err != nil {
			return nil, io.ErrUnexpectedEOF
		}
		if next == carriage {
			return frame[:len(frame)-1], nil
		}
		frame = append(frame, next)
	}
}

func frameOf(msg []byte) []byte {
	out := make([]byte, 0, len(msg)+3)
	out = append(out, startBlock)
	out = append(out, msg...)
	return append(out, endBlock, carriage)
}

// SendMLLP sends one message on a connection of its own and returns what was
// answered, unframed. The context bounds the whole exchange.
func SendMLLP(ctx context.Context, addr string, msg []byte) ([]byte, error) {
	if bytes.IndexByte(msg, endBlock) >= 0 {
		return nil, errors.New("mllp: the message holds an end of block")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("mllp: %w", err)
	}
	defer conn.Close()
	// A deadline in the past is how a blocked read or write is interrupted.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = conn.Write(frameOf(msg)); err == nil {
		var ack []byte
		if ack, err = readFrame(bufio.NewReader(conn)); err == nil {
			return ack, nil
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, fmt.Errorf("mllp: %w", err)
}
