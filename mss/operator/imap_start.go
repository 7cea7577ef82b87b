package operator

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
)

// The first lines of IMAP are ours, because the library loses the reason why a
// server closes just after the handshake, which is how TLS 1.3 refuses a client
// certificate.

var (
	errNoSTARTTLS = errors.New("operator: no STARTTLS")
	errNotIMAP    = errors.New("operator: not an IMAP server")
)

// startTLS goes from the greeting to a protected connection. Nothing that came
// in clear is kept.
func startTLS(conn net.Conn, config *tls.Config) (*watched, error) {
	greeting, err := readLine(conn)
	if err != nil {
		return nil, err
	}
	switch g := strings.ToUpper(greeting); {
	case strings.HasPrefix(g, "* PREAUTH"): // it would skip the login, in clear
		return nil, errNoSTARTTLS
	case !strings.HasPrefix(g, "* OK"):
		return nil, errNotIMAP
	}
	if _, err := conn.Write([]byte("S1 STARTTLS\r\n")); err != nil {
		return nil, err
	}
	for range 20 {
		line, err := readLine(conn)
		switch {
		case err != nil:
			return nil, err
		case strings.HasPrefix(line, "* "):
			continue
		case !strings.HasPrefix(strings.ToUpper(line), "S1 OK"):
			return nil, errNoSTARTTLS
		}
		t := tls.Client(conn, config)
		if err := t.Handshake(); err != nil {
			return nil, err
		}
		return &watched{Conn: t, head: []byte("* OK protected\r\n")}, nil
	}
	return nil, errNotIMAP
}

// readLine reads byte by byte: what follows a line belongs to the handshake.
func readLine(conn net.Conn) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 2000 {
		if _, err := conn.Read(b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, b[0])
	}
	return "", errNotIMAP
}

// watched gives the library a greeting, and remembers why reading ended.
type watched struct {
	net.Conn
	head []byte

	mu  sync.Mutex
	end error
}

func (w *watched) Read(p []byte) (int, error) {
	if len(w.head) > 0 {
		n := copy(p, w.head)
		w.head = w.head[n:]
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if err != nil {
		w.mu.Lock()
		if w.end == nil {
			w.end = err
		}
		w.mu.Unlock()
	}
	return n, err
}

func (w *watched) why() error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.end
}
