package psc

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Keys are what the gateway signs its tokens with and seals its records with.
// They are in one file, made at first use, readable by its owner only; several
// gateways that share a store share the file.
type Keys struct {
	path  string
	clock func() time.Time
	rand  io.Reader

	seal cipher.AEAD // set once: records are sealed with it for ever

	mu   sync.RWMutex
	file keyFile
	info os.FileInfo // of the file as it was read
}

// keyFile is the file. The first key signs; the others are still published,
// because tokens that they signed may be alive.
type keyFile struct {
	Version int         `json:"version"`
	Seal    []byte      `json:"seal"`
	Keys    []signerKey `json:"keys"`
}

type signerKey struct {
	Created time.Time       `json:"created"`
	Retired time.Time       `json:"retired,omitzero"`
	JWK     jose.JSONWebKey `json:"jwk"`
}

// retiredLife is how long a retired key is published: longer than any token.
const retiredLife = 24 * time.Hour

// OpenKeys reads the file of keys, or makes it.
func OpenKeys(path string, clock func() time.Time, random io.Reader) (*Keys, error) {
	if path == "" || clock == nil || random == nil {
		return nil, errors.New("psc: keys: path, clock and rand are required")
	}
	k := &Keys{path: path, clock: clock, rand: random}
	err := k.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = k.create()
	}
	if err != nil {
		return nil, because(FaultKeyFile, "", err)
	}
	return k, nil
}

func (k *Keys) read() error {
	f, info, err := k.load()
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(f.Seal)
	if err != nil {
		return err
	}
	k.file, k.info = f, info
	k.seal, err = cipher.NewGCM(block)
	return err
}

func (k *Keys) load() (keyFile, os.FileInfo, error) {
	var f keyFile
	info, err := os.Stat(k.path)
	if err != nil {
		return f, nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return f, nil, fmt.Errorf("%s is readable by others (mode %o, want 600)", k.path, info.Mode().Perm())
	}
	if info.Size() > 1<<20 {
		return f, nil, fmt.Errorf("%s is no file of keys", k.path)
	}
	data, err := os.ReadFile(k.path)
	if err != nil {
		return f, nil, err
	}
	if json.Unmarshal(data, &f) != nil || f.Version != 1 || len(f.Seal) != 32 || len(f.Keys) == 0 {
		return f, nil, fmt.Errorf("%s is no file of keys", k.path)
	}
	for _, one := range f.Keys {
		key, ok := one.JWK.Key.(*ecdsa.PrivateKey)
		if !ok || key.Curve != elliptic.P256() || one.JWK.KeyID == "" {
			return f, nil, fmt.Errorf("%s holds a key of another kind", k.path)
		}
	}
	return f, info, nil
}

// Reload reads the file again if it has changed: another process has rotated the
// keys. A file that cannot be read, or that is not the one that records were
// sealed with, leaves the keys that are held.
func (k *Keys) Reload() error {
	info, err := os.Stat(k.path)
	if err != nil {
		return because(FaultKeyFile, "", err)
	}
	k.mu.RLock()
	held := k.info
	k.mu.RUnlock()
	if held != nil && os.SameFile(info, held) && info.ModTime().Equal(held.ModTime()) && info.Size() == held.Size() {
		return nil
	}
	f, info, err := k.load()
	if err != nil {
		return because(FaultKeyFile, "", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !bytes.Equal(f.Seal, k.file.Seal) {
		return because(FaultKeyFile, "", fmt.Errorf("%s is another gateway's: it does not open our records", k.path))
	}
	k.file, k.info = f, info
	return nil
}

// current follows a rotation at the moment when it matters. What went wrong is
// told by who calls Reload now and then; the keys that are held are good.
func (k *Keys) current() keyFile {
	_ = k.Reload()
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.file
}

func (k *Keys) create() error {
	one, err := k.newKey()
	if err != nil {
		return err
	}
	f := keyFile{Version: 1, Seal: make([]byte, 32), Keys: []signerKey{one}}
	if _, err := io.ReadFull(k.rand, f.Seal); err != nil {
		return err
	}
	// Who comes second finds the file of who came first, whole.
	if err := k.write(f, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return k.read()
}

func (k *Keys) newKey() (signerKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), k.rand)
	if err != nil {
		return signerKey{}, err
	}
	jwk := jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return signerKey{}, err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return signerKey{Created: k.clock().UTC(), JWK: jwk}, nil
}

// write makes the file durable in one step.
func (k *Keys) write(f keyFile, place func(from, to string) error) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	dir := filepath.Dir(k.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".keys-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	// Who rotates may be the administrator: the service must still read its file.
	if info, there := os.Stat(k.path); there == nil {
		if err := keepOwner(tmp, info); err != nil {
			return errors.Join(err, tmp.Close())
		}
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := place(tmp.Name(), k.path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if runtime.GOOS == "windows" {
		err = nil // a folder cannot be synced there
	}
	return errors.Join(err, d.Close())
}

// Rotate starts to sign with a new key. Tokens that live stay good: their key
// is published for a day more. Records stay readable. Gateways that run follow
// at their next token, and verify what another has already signed. One process
// rotates at a time: of two, the key of the second stays.
func (k *Keys) Rotate() error {
	if err := k.Reload(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	one, err := k.newKey()
	if err != nil {
		return because(FaultKeyFile, "", err)
	}
	now := k.clock().UTC()
	next := keyFile{Version: 1, Seal: k.file.Seal, Keys: []signerKey{one}}
	for i, old := range k.file.Keys {
		if i == 0 {
			old.Retired = now
		}
		if now.Sub(old.Retired) < retiredLife {
			next.Keys = append(next.Keys, old)
		}
	}
	if err := k.write(next, os.Rename); err != nil {
		return because(FaultKeyFile, "", err)
	}
	k.file, k.info = next, nil // read again, at the next use
	return nil
}

// KeyInfo is one key as it may be shown.
type KeyInfo struct {
	ID      string    `json:"kid"`
	Created time.Time `json:"created"`
	Retired time.Time `json:"retired,omitzero"` // it signs no more
	Until   time.Time `json:"until,omitzero"`   // and is published until then
}

// List tells the keys, the one that signs first.
func (k *Keys) List() []KeyInfo {
	var out []KeyInfo
	for _, one := range k.current().Keys {
		i := KeyInfo{ID: one.JWK.KeyID, Created: one.Created, Retired: one.Retired}
		if !one.Retired.IsZero() {
			i.Until = one.Retired.Add(retiredLife)
		}
		out = append(out, i)
	}
	return out
}

// Public is the set of keys to publish.
func (k *Keys) Public() jose.JSONWebKeySet { return k.published(k.current()) }

func (k *Keys) published(f keyFile) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, one := range f.Keys {
		if one.Retired.IsZero() || k.clock().Sub(one.Retired) < retiredLife {
			set.Keys = append(set.Keys, one.JWK.Public())
		}
	}
	return set
}

// signer signs as the current key.
func (k *Keys) signer() (jose.Signer, error) {
	return jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.current().Keys[0].JWK}, (&jose.SignerOptions{}).WithType("at+jwt"))
}

// public finds a key by its id; the file is read again for one that is not held.
func (k *Keys) public(kid string) (jose.JSONWebKey, bool) {
	k.mu.RLock()
	held := k.published(k.file)
	k.mu.RUnlock()
	found := held.Key(kid)
	if len(found) == 0 {
		set := k.Public()
		found = set.Key(kid)
	}
	if len(found) != 1 {
		return jose.JSONWebKey{}, false
	}
	return found[0], true
}

// sealed is a value that only the holder of the file reads, and only where it
// was put: what is the record of one key cannot pass for that of another.
func (k *Keys) sealed(kind, key string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("psc: seal: %w", err)
	}
	nonce := make([]byte, k.seal.NonceSize())
	if _, err := io.ReadFull(k.rand, nonce); err != nil {
		return nil, fmt.Errorf("psc: seal: %w", err)
	}
	return k.seal.Seal(nonce, nonce, plain, []byte(kind+"\x00"+key)), nil
}

func (k *Keys) open(kind, key string, value []byte, v any) error {
	n := k.seal.NonceSize()
	if len(value) < n {
		return errors.New("psc: a sealed value is too short")
	}
	plain, err := k.seal.Open(nil, value[:n], value[n:], []byte(kind+"\x00"+key))
	if err != nil {
		return errors.New("psc: a sealed value was altered, or sealed with other keys")
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("psc: a sealed value: %w", err)
	}
	return nil
}

// digest names a secret in the store without telling it.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// secret is a random text of 256 bits.
func secret(random io.Reader) (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("psc: random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}
