package sim

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// Bounds of an operator: what strangers can fill.
const (
	maxBoxes   = 10_000
	maxFolders = 50 // of one mailbox
	maxIDs     = 200_000
	maxFlags   = 50 // of one mail
)

const inbox = "INBOX"

// Mail is one mail in a mailbox of the operator.
type Mail struct {
	ID        string    `json:"id"`
	Received  time.Time `json:"received"`
	From      string    `json:"from"` // header
	Subject   string    `json:"subject"`
	Raw       string    `json:"raw"` // URL of the RFC 5322 bytes
	Mailbox   string    `json:"mailbox"`
	Folder    string    `json:"folder"`
	UID       uint32    `json:"uid"`
	Flags     []string  `json:"flags"`
	MessageID string    `json:"message_id"`
	Sender    string    `json:"envelope_from"`         // empty for a report
	Envelope  string    `json:"envelope_id,omitempty"` // ENVID
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"` // of the bytes as they were submitted
}

// mailOp is one line of the journal of the mailboxes.
type mailOp struct {
	Op       string   `json:"op"` // folder, add, moved, flags, gone
	Box      string   `json:"box"`
	Folder   string   `json:"folder"`
	Validity uint32   `json:"validity,omitempty"`
	Mail     *Mail    `json:"mail,omitempty"`
	Trace    string   `json:"trace,omitempty"` // header lines that the delivery adds
	UID      uint32   `json:"uid,omitempty"`
	Flags    []string `json:"flags,omitempty"`
}

type stored struct {
	Mail
	trace string
}

type folder struct {
	name     string
	validity uint32
	next     uint32
	mails    []*stored // by UID
	tracker  *imapserver.MailboxTracker
}

type mailbox struct {
	address string
	folders map[string]*folder
	lists   []string // names of the folders in the order of creation
	copies  int      // deliveries ever
	ids     map[string]int
}

// mailStore keeps the mailboxes: bytes in files named by their digest, and a
// journal of what happened to the mails. A change is answered when the disk has
// it.
type mailStore struct {
	dir string

	mu     sync.Mutex
	file   *os.File
	boxes  map[string]*mailbox
	number int
	valid  uint32
	ids    int // distinct Message-IDs counted, all mailboxes together
	broken error
}

func openMailStore(dir string) (*mailStore, error) {
	if err := os.MkdirAll(filepath.Join(dir, "mails"), 0o700); err != nil {
		return nil, fmt.Errorf("sim: mailboxes: %w", err)
	}
	s := &mailStore{dir: dir, boxes: map[string]*mailbox{}}
	f, err := os.OpenFile(filepath.Join(dir, "journal.jsonl"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sim: mailboxes: %w", err)
	}
	r, whole := bufio.NewReader(f), int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // a last line cut by a crash was not answered for
		}
		var op mailOp
		if err == nil {
			err = json.Unmarshal(line, &op)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("sim: journal of the mailboxes: %w", err)
		}
		whole += int64(len(line))
		s.apply(op)
	}
	if err := errors.Join(f.Truncate(whole), seekEnd(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("sim: journal of the mailboxes: %w", err)
	}
	s.file = f
	return s, nil
}

// commit writes operations, waits for the disk, then makes them true.
func (s *mailStore) commit(ops ...mailOp) error {
	if s.broken != nil {
		return s.broken
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, op := range ops {
		if err := e.Encode(op); err != nil {
			return err
		}
	}
	_, err := s.file.Write(b.Bytes())
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// What the file holds now is unknown: nothing more is promised.
		s.broken = fmt.Errorf("sim: journal of the mailboxes: %w", err)
		return s.broken
	}
	for _, op := range ops {
		s.apply(op)
	}
	return nil
}

func (s *mailStore) apply(op mailOp) {
	b := s.boxes[op.Box]
	if b == nil {
		b = &mailbox{address: op.Box, folders: map[string]*folder{}, ids: map[string]int{}}
		s.boxes[op.Box] = b
	}
	f := b.folders[op.Folder]
	if f == nil {
		if op.Op != "folder" {
			return
		}
		f = &folder{name: op.Folder, validity: op.Validity, next: 1, tracker: imapserver.NewMailboxTracker(0)}
		b.folders[op.Folder], b.lists = f, append(b.lists, op.Folder)
		s.valid = max(s.valid, op.Validity)
		return
	}
	at, found := slices.BinarySearchFunc(f.mails, op.UID, func(m *stored, uid uint32) int { return int(int64(m.UID) - int64(uid)) })
	switch {
	case op.Op == "add" && op.Mail != nil:
		m := &stored{Mail: *op.Mail, trace: op.Trace}
		f.mails = append(f.mails, m)
		f.next = max(f.next, m.UID+1)
		if n, err := strconv.Atoi(m.ID); err == nil {
			s.number = max(s.number, n)
		}
		b.copies++
		if _, known := b.ids[m.MessageID]; known || s.ids < maxIDs {
			if !known {
				s.ids++
			}
			b.ids[m.MessageID]++
		}
		f.tracker.QueueNumMessages(uint32(len(f.mails)))
	case op.Op == "moved" && op.Mail != nil: // from another folder: no delivery
		f.mails = append(f.mails, &stored{Mail: *op.Mail, trace: op.Trace})
		f.next = max(f.next, op.Mail.UID+1)
		f.tracker.QueueNumMessages(uint32(len(f.mails)))
	case op.Op == "flags" && found:
		f.mails[at].Flags = op.Flags
	case op.Op == "gone" && found:
		f.mails = slices.Delete(f.mails, at, at+1)
		f.tracker.QueueExpunge(uint32(at + 1))
	}
}

// open finds a mailbox, or makes it with its INBOX.
func (s *mailStore) open(address string) (*mailbox, error) {
	if b := s.boxes[address]; b != nil {
		return b, nil
	}
	if len(s.boxes) >= maxBoxes {
		return nil, errors.New("sim: too many mailboxes")
	}
	if err := s.commit(mailOp{Op: "folder", Box: address, Folder: inbox, Validity: s.valid + 1}); err != nil {
		return nil, err
	}
	return s.boxes[address], nil
}

// delivery is one mail to put into one mailbox.
type delivery struct {
	to       string // mailbox, lower case
	sender   string // envelope; empty for a report
	envelope string // ENVID
	trace    string // Received and the like, ended by CRLF; may be empty
}

// deliver puts a mail into mailboxes, all of them or none.
func (s *mailStore) deliver(raw []byte, now time.Time, to ...delivery) ([]Mail, error) {
	sum, err := s.keep(raw)
	if err != nil {
		return nil, err
	}
	from, subject, id := glance(raw)
	s.mu.Lock()
	defer s.mu.Unlock()
	var ops []mailOp
	var out []Mail
	next := map[string]uint32{} // one mail may go twice to a mailbox
	for i, d := range to {
		b, err := s.open(d.to)
		if err != nil {
			return nil, err
		}
		f := b.folders[inbox]
		m := Mail{ID: strconv.Itoa(s.number + 1 + i), Received: now.UTC(), From: from, Subject: subject, Mailbox: d.to, Folder: inbox,
			UID: f.next + next[d.to], Flags: []string{}, MessageID: id, Sender: d.sender, Envelope: d.envelope,
			Size: int64(len(d.trace) + len(raw)), SHA256: sum}
		next[d.to]++
		ops = append(ops, mailOp{Op: "add", Box: d.to, Folder: inbox, Mail: &m, Trace: d.trace})
		out = append(out, m)
	}
	return out, s.commit(ops...)
}

// keep writes bytes under their digest.
func (s *mailStore) keep(raw []byte) (string, error) {
	h := sha256.Sum256(raw)
	sum := hex.EncodeToString(h[:])
	path := s.blob(sum)
	if _, err := os.Stat(path); err == nil {
		return sum, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("sim: %w", err)
	}
	if err := writeFile(path, raw, 0o600); err != nil {
		return "", err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", fmt.Errorf("sim: %w", err)
	}
	defer d.Close()
	return sum, d.Sync()
}

func (s *mailStore) blob(sum string) string { return filepath.Join(s.dir, "mails", sum+".eml") }

// bytes are those of a mail as its owner reads it.
func (s *mailStore) bytes(m *stored) ([]byte, error) {
	raw, err := os.ReadFile(s.blob(m.SHA256))
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	return append([]byte(m.trace), raw...), nil
}

// list gives the mails of a mailbox, newest first.
func (s *mailStore) list(address string) []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Mail{}
	if b := s.boxes[address]; b != nil {
		for _, f := range b.folders {
			for _, m := range f.mails {
				one := m.Mail
				one.Flags = slices.Clone(m.Flags)
				out = append(out, one)
			}
		}
	}
	slices.SortFunc(out, func(a, b Mail) int {
		x, _ := strconv.Atoi(a.ID) // ids are ours
		y, _ := strconv.Atoi(b.ID)
		return y - x
	})
	return out
}

// read finds the bytes of one mail.
func (s *mailStore) read(address, id string) ([]byte, error) {
	s.mu.Lock()
	var found *stored
	if b := s.boxes[address]; b != nil {
		for _, f := range b.folders {
			for _, m := range f.mails {
				if m.ID == id {
					found = m
				}
			}
		}
	}
	s.mu.Unlock()
	if found == nil {
		return nil, fs.ErrNotExist
	}
	return s.bytes(found)
}

// BoxCount counts the deliveries to one mailbox, those that were deleted since
// included.
type BoxCount struct {
	Copies     int            `json:"copies"`   // deliveries
	Distinct   int            `json:"distinct"` // Message-IDs
	MessageIDs map[string]int `json:"message_ids"`
}

func (s *mailStore) counts() map[string]BoxCount {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]BoxCount{}
	for address, b := range s.boxes {
		out[address] = BoxCount{Copies: b.copies, Distinct: len(b.ids), MessageIDs: maps.Clone(b.ids)}
	}
	return out
}

func (s *mailStore) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.broken, fs.ErrClosed) {
		return nil
	}
	s.broken = fs.ErrClosed
	return s.file.Close()
}

// glance reads what a list shows of a mail: foreign bytes, cut to size.
func glance(raw []byte) (from, subject, id string) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return "", "", ""
	}
	decoder := new(mime.WordDecoder)
	show := func(s string) string {
		if d, err := decoder.DecodeHeader(s); err == nil {
			s = d
		}
		s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
		return strings.ToValidUTF8(s[:min(len(s), 500)], "")
	}
	from = show(m.Header.Get("From"))
	if a, err := mail.ParseAddress(m.Header.Get("From")); err == nil {
		from = show(a.Address)
	}
	return from, show(m.Header.Get("Subject")), strings.Trim(show(m.Header.Get("Message-ID")), "<> ")
}

func hasFlag(m *stored, f imap.Flag) bool {
	return slices.ContainsFunc(m.Flags, func(s string) bool { return strings.EqualFold(s, string(f)) })
}
