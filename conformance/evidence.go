package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Exchange is one thing said on the wire and its answer.
type Exchange struct {
	N        int       `json:"n"`
	Began    time.Time `json:"began"`
	Ended    time.Time `json:"ended"`
	Channel  string    `json:"channel"` // mllp or http
	Peer     string    `json:"peer"`
	Label    string    `json:"label"` // what it was for, in French
	Sent     Bytes     `json:"sent"`
	Received Bytes     `json:"received"`
	Error    string    `json:"error,omitempty"`
}

// Bytes are kept in a file named after their digest.
type Bytes struct {
	File   string `json:"file,omitempty"` // under the folder of the run
	Size   int    `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
}

const (
	evidenceFolder = "preuves"
	maxEvidence    = 1 << 30
	maxExchanges   = 20_000
)

// recorder keeps what is exchanged, as it is exchanged.
type recorder struct {
	dir   string
	clock func() time.Time

	mu    sync.Mutex
	list  []Exchange
	total int
	err   error
}

// add keeps one exchange and gives its number.
func (r *recorder) add(x Exchange, sent, received []byte) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.N, x.Ended = len(r.list)+1, r.clock()
	x.Sent, x.Received = r.keep(sent), r.keep(received)
	if x.N > maxExchanges {
		r.err = errors.Join(r.err, errors.New("too many exchanges"))
		return 0
	}
	r.list = append(r.list, x)
	return x.N
}

func (r *recorder) keep(data []byte) Bytes {
	if len(data) == 0 || r.err != nil {
		return Bytes{Size: len(data)}
	}
	sum := sha256.Sum256(data)
	b := Bytes{Size: len(data), SHA256: hex.EncodeToString(sum[:])}
	b.File = filepath.ToSlash(filepath.Join(evidenceFolder, b.SHA256[:24]+".txt"))
	path := filepath.Join(r.dir, filepath.FromSlash(b.File))
	if _, err := os.Stat(path); err == nil {
		return b
	} else if !errors.Is(err, fs.ErrNotExist) {
		r.err = err
		return b
	}
	if r.total += len(data); r.total > maxEvidence {
		r.err = errors.New("more than 1 GiB of evidence")
		return b
	}
	// Real bytes, with the matricules of the fictitious people: for the owner only.
	r.err = os.WriteFile(path, data, 0o600)
	return b
}

// kept is what was exchanged so far, and what went wrong with keeping it.
func (r *recorder) kept() ([]Exchange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list, r.err
}
