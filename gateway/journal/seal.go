package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// minKey is the length of a key: what AES-256 takes, and what nobody types.
const minKey = 32

// maxKeys is what the version byte can name.
const maxKeys = 255

// Keys are those of a key file. The last one seals; all of them open, so that a
// key is changed by adding a line and nothing has to be rewritten.
type Keys struct{ all []sealer }

// sealer is one key: its version, its cipher and the key of its hashes.
type sealer struct {
	aead   cipher.AEAD
	lookup []byte
}

// ParseKeys reads a key file: one key a line, at least 32 bytes in hexadecimal,
// oldest first. Blank lines and lines that begin with # do not count. An error
// names the line and never what stands on it.
func ParseKeys(file []byte) (Keys, error) {
	var k Keys
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(string(file)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		secret, err := hex.DecodeString(line)
		switch {
		case err != nil:
			return Keys{}, badKey("line %d is not hexadecimal", n)
		case len(secret) < minKey:
			return Keys{}, badKey("line %d is shorter than %d bytes", n, minKey)
		case bytes.Count(secret, secret[:1]) == len(secret):
			return Keys{}, badKey("line %d repeats one byte", n)
		case seen[line]:
			return Keys{}, badKey("line %d repeats a key", n)
		case len(k.all) == maxKeys:
			return Keys{}, badKey("more than %d keys", maxKeys)
		}
		seen[line] = true
		s, err := newSealer(secret)
		if err != nil {
			return Keys{}, err
		}
		k.all = append(k.all, s)
	}
	if len(k.all) == 0 {
		return Keys{}, badKey("no key")
	}
	return k, nil
}

func badKey(format string, args ...any) error {
	return &Error{code: FaultKeyFile, cause: fmt.Errorf(format, args...)}
}

func newSealer(secret []byte) (s sealer, err error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "passerelle register seal", 32)
	if err != nil {
		return s, err
	}
	if s.lookup, err = hkdf.Key(sha256.New, secret, nil, "passerelle register lookup", 32); err != nil {
		return s, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return s, err
	}
	s.aead, err = cipher.NewGCM(block)
	return s, err
}

// seal hides data for one row: version, nonce, ciphertext. Moved to another row
// it does not open.
func (k Keys) seal(random io.Reader, row string, data []byte) ([]byte, error) {
	version := len(k.all)
	aead := k.all[version-1].aead
	out := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(data)+aead.Overhead())
	out[0] = byte(version)
	if _, err := io.ReadFull(random, out[1:]); err != nil {
		return nil, err
	}
	return aead.Seal(out, out[1:], data, []byte(row)), nil
}

// open gives back what seal hid.
func (k Keys) open(row string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || int(sealed[0]) > len(k.all) || sealed[0] == 0 {
		return nil, &Error{code: FaultKeyWrong, cause: errors.New("sealed under a key that the file does not have")}
	}
	aead := k.all[sealed[0]-1].aead
	if len(sealed) < 1+aead.NonceSize() {
		return nil, &Error{code: FaultSealed}
	}
	nonce, body := sealed[1:1+aead.NonceSize()], sealed[1+aead.NonceSize():]
	data, err := aead.Open(nil, nonce, body, []byte(row))
	if err != nil {
		return nil, &Error{code: FaultSealed}
	}
	return data, nil
}

// hashes are the keyed hashes of one value, under every key: the newest last.
func (k Keys) hashes(parts ...string) [][]byte {
	all := make([][]byte, len(k.all))
	for i, s := range k.all {
		mac := hmac.New(sha256.New, s.lookup)
		for _, p := range parts {
			fmt.Fprintf(mac, "%d:%s", len(p), p)
		}
		all[i] = mac.Sum(nil)
	}
	return all
}
