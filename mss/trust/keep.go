package trust

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// note is what is kept beside the bytes of a list: where they came from, and
// when the source last stood by them.
type note struct {
	URL       string    `json:"url"`
	ETag      string    `json:"etag,omitempty"`
	Modified  string    `json:"modified,omitempty"`
	Confirmed time.Time `json:"confirmed"`
	SHA256    string    `json:"sha256"`
}

// save makes bytes durable under a name: all of them or the ones before.
func save(dir, name string, n note, data []byte) (err error) {
	sum := sha256.Sum256(data)
	n.SHA256 = hex.EncodeToString(sum[:])
	head, err := json.Marshal(n)
	if err != nil {
		return refuse(FaultCache, "", err)
	}
	f, err := os.CreateTemp(dir, name+".*.tmp")
	if err != nil {
		return refuse(FaultCache, "", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = refuse(FaultCache, "", err)
		}
	}()
	for _, part := range [][]byte{head, {'\n'}, data} {
		if _, err = f.Write(part); err != nil {
			_ = f.Close()
			return err
		}
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes a rename durable. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const maxHead = 16 << 10

// load gives back what save kept; false when it is absent, damaged, larger than
// max, or of another source.
func load(dir, name, url string, max int64) (note, []byte, bool) {
	var n note
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return n, nil, false
	}
	defer f.Close()
	all, err := io.ReadAll(io.LimitReader(f, max+maxHead+1))
	if err != nil {
		return n, nil, false
	}
	head, data, found := bytes.Cut(all, []byte{'\n'})
	if !found || len(head) > maxHead || int64(len(data)) > max || json.Unmarshal(head, &n) != nil || n.URL != url {
		return note{}, nil, false
	}
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != n.SHA256 {
		return note{}, nil, false
	}
	return n, data, true
}
