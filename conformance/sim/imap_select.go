package sim

import (
	"bufio"
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-message/textproto"
)

// numbered is a mail and its number in the eyes of a session.
type numbered struct {
	seq  uint32
	mail *stored
}

// chosen lists the mails of a set; the caller holds the lock.
func (c *imapSession) chosen(set imap.NumSet) []numbered {
	var out []numbered
	if c.folder == nil {
		return nil
	}
	last := uint32(0)
	if n := len(c.folder.mails); n > 0 {
		last = c.folder.mails[n-1].UID
	}
	for i, m := range c.folder.mails {
		seq := c.tracker.EncodeSeqNum(uint32(i + 1))
		in := false
		switch set := set.(type) {
		case imap.SeqSet:
			for _, r := range set {
				in = in || seq != 0 && within(seq, r.Start, r.Stop, uint32(len(c.folder.mails)))
			}
		case imap.UIDSet:
			for _, r := range set {
				in = in || within(m.UID, uint32(r.Start), uint32(r.Stop), last)
			}
		}
		if in {
			out = append(out, numbered{seq, m})
		}
	}
	return out
}

// within tells whether n is in a range, where 0 stands for the last one.
func within(n, from, to, last uint32) bool {
	if from == 0 {
		from = last
	}
	if to == 0 {
		to = last
	}
	return n >= min(from, to) && n <= max(from, to)
}

// change applies STORE to flags. Case does not matter (RFC 3501).
func change(flags []string, s *imap.StoreFlags) []string {
	out := slices.Clone(flags)
	if s.Op == imap.StoreFlagsSet {
		out = nil
	}
	for _, f := range s.Flags {
		at := slices.IndexFunc(out, func(o string) bool { return strings.EqualFold(o, string(f)) })
		switch {
		case s.Op == imap.StoreFlagsDel && at >= 0:
			out = slices.Delete(out, at, at+1)
		case s.Op != imap.StoreFlagsDel && at < 0 && len(out) < maxFlags && len(f) < 100:
			out = append(out, string(f))
		}
	}
	if out == nil {
		out = []string{}
	}
	return out
}

func imapFlags(m *stored) []imap.Flag {
	out := make([]imap.Flag, 0, len(m.Flags))
	for _, f := range m.Flags {
		out = append(out, imap.Flag(f))
	}
	return out
}

// Store changes flags.
func (c *imapSession) Store(w *imapserver.FetchWriter, set imap.NumSet, flags *imap.StoreFlags, _ *imap.StoreOptions) error {
	if err := c.trouble("STORE", Before); err != nil {
		return err
	}
	if err := c.flag(set, flags); err != nil {
		return err
	}
	if err := c.trouble("STORE", After); err != nil {
		return err
	}
	if flags.Silent {
		return nil
	}
	return c.write(w, set, &imap.FetchOptions{Flags: true, UID: true})
}

func (c *imapSession) flag(set imap.NumSet, flags *imap.StoreFlags) error {
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	var ops []mailOp
	mails := c.chosen(set)
	for _, n := range mails {
		ops = append(ops, mailOp{Op: "flags", Box: c.box, Folder: c.folder.name, UID: n.mail.UID, Flags: change(n.mail.Flags, flags)})
	}
	if len(ops) == 0 {
		return nil
	}
	if err := c.failure(c.o.store.commit(ops...)); err != nil {
		return err
	}
	for i, m := range c.folder.mails {
		if slices.ContainsFunc(mails, func(n numbered) bool { return n.mail == m }) {
			c.folder.tracker.QueueMessageFlags(uint32(i+1), imap.UID(m.UID), imapFlags(m), c.tracker)
		}
	}
	return nil
}

// Fetch reads mails. Reading a body without PEEK marks it as seen.
func (c *imapSession) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	if err := c.trouble("FETCH", Before); err != nil {
		return err
	}
	if slices.ContainsFunc(options.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek }) {
		if err := c.flag(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}}); err != nil {
			return err
		}
	}
	return c.write(w, set, options)
}

func (c *imapSession) write(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	c.o.store.mu.Lock()
	mails := c.chosen(set)
	for i, n := range mails {
		one := *n.mail // flags may change while it is written
		one.Flags = slices.Clone(one.Flags)
		mails[i].mail = &one
	}
	c.o.store.mu.Unlock()
	for _, n := range mails {
		out := w.CreateMessage(n.seq)
		err := c.writeOne(out, n.mail, options)
		// Closed whatever happened: until then it holds the whole connection.
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *imapSession) writeOne(w *imapserver.FetchResponseWriter, m *stored, options *imap.FetchOptions) error {
	w.WriteUID(imap.UID(m.UID))
	if options.Flags {
		w.WriteFlags(imapFlags(m))
	}
	if options.InternalDate {
		w.WriteInternalDate(m.Received)
	}
	if options.RFC822Size {
		w.WriteRFC822Size(m.Size)
	}
	if options.Envelope || options.BodyStructure != nil || len(options.BodySection) > 0 {
		raw, err := c.o.store.bytes(m)
		if err != nil {
			return c.failure(err)
		}
		if options.Envelope {
			if h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(raw))); err == nil {
				w.WriteEnvelope(imapserver.ExtractEnvelope(h))
			}
		}
		if options.BodyStructure != nil {
			w.WriteBodyStructure(imapserver.ExtractBodyStructure(bytes.NewReader(raw)))
		}
		for _, section := range options.BodySection {
			data := raw // the whole mail is given as it is, whatever it is made of
			if section.Specifier != imap.PartSpecifierNone || len(section.Part) > 0 || section.Partial != nil {
				data = imapserver.ExtractBodySection(bytes.NewReader(raw), section)
			}
			out := w.WriteBodySection(section, int64(len(data)))
			_, err := out.Write(data)
			if cerr := out.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Search finds mails.
func (c *imapSession) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	if err := c.trouble("SEARCH", Before); err != nil {
		return nil, err
	}
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	data := &imap.SearchData{}
	var seqs imap.SeqSet
	var uids imap.UIDSet
	for _, n := range c.chosen(imap.UIDSet{{Start: 1, Stop: 0}}) {
		if n.seq == 0 {
			continue // the session has not heard of it
		}
		ok, err := c.matches(n, criteria)
		if err != nil {
			return nil, err
		}
		if ok {
			data.Count++
			seqs.AddNum(n.seq)
			uids.AddNum(imap.UID(n.mail.UID))
		}
	}
	data.All = seqs
	if kind == imapserver.NumKindUID {
		data.All = uids
	}
	return data, nil
}

// matches knows flags, sets, dates, sizes, header fields and text in the raw
// bytes; what is encoded is not decoded for a search.
func (c *imapSession) matches(n numbered, q *imap.SearchCriteria) (bool, error) {
	m := n.mail
	in := func(set imap.NumSet) bool {
		return slices.ContainsFunc(c.chosen(set), func(o numbered) bool { return o.mail == m })
	}
	for _, s := range q.SeqNum {
		if !in(s) {
			return false, nil
		}
	}
	for _, s := range q.UID {
		if !in(s) {
			return false, nil
		}
	}
	for _, f := range q.Flag {
		if !hasFlag(m, f) {
			return false, nil
		}
	}
	for _, f := range q.NotFlag {
		if hasFlag(m, f) {
			return false, nil
		}
	}
	day := m.Received.Truncate(24 * time.Hour)
	if (q.Larger != 0 && m.Size <= q.Larger) || (q.Smaller != 0 && m.Size >= q.Smaller) ||
		(!q.Since.IsZero() && day.Before(q.Since)) || (!q.Before.IsZero() && !day.Before(q.Before)) {
		return false, nil
	}
	if len(q.Header)+len(q.Body)+len(q.Text) > 0 {
		ok, err := c.contains(m, q)
		if !ok || err != nil {
			return false, err
		}
	}
	for i := range q.Not {
		if ok, err := c.matches(n, &q.Not[i]); ok || err != nil {
			return false, err
		}
	}
	for i := range q.Or {
		first, err := c.matches(n, &q.Or[i][0])
		if err != nil {
			return false, err
		}
		if second, err := c.matches(n, &q.Or[i][1]); err != nil || !first && !second {
			return false, err
		}
	}
	return true, nil
}

func (c *imapSession) contains(m *stored, q *imap.SearchCriteria) (bool, error) {
	raw, err := c.o.store.bytes(m)
	if err != nil {
		return false, c.failure(err)
	}
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(append(slices.Clone(head), "\r\n\r\n"...))))
	for _, f := range q.Header {
		found := false
		if err == nil {
			for _, v := range h.Values(f.Key) {
				found = found || strings.Contains(strings.ToLower(v), strings.ToLower(f.Value))
			}
		}
		if !found {
			return false, nil
		}
	}
	has := func(data []byte, s string) bool { return bytes.Contains(bytes.ToLower(data), bytes.ToLower([]byte(s))) }
	for _, s := range q.Body {
		if !has(body, s) {
			return false, nil
		}
	}
	for _, s := range q.Text {
		if !has(raw, s) {
			return false, nil
		}
	}
	return true, nil
}

// Expunge takes out what is marked as deleted.
func (c *imapSession) Expunge(_ *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	if err := c.trouble("EXPUNGE", Before); err != nil {
		return err
	}
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	set := imap.UIDSet{{Start: 1, Stop: 0}}
	if uids != nil {
		set = *uids
	}
	var ops []mailOp
	for _, n := range c.chosen(set) {
		if hasFlag(n.mail, imap.FlagDeleted) {
			ops = append(ops, mailOp{Op: "gone", Box: c.box, Folder: c.folder.name, UID: n.mail.UID})
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return c.failure(c.o.store.commit(ops...)) // the tracker tells the session
}

// Copy puts copies into another folder; they count as one delivery.
func (c *imapSession) Copy(set imap.NumSet, dest string) (*imap.CopyData, error) {
	if err := c.trouble("COPY", Before); err != nil {
		return nil, err
	}
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	data, ops, err := c.copies(set, dest)
	if err != nil || len(ops) == 0 {
		return data, err
	}
	return data, c.failure(c.o.store.commit(ops...))
}

// copies prepares the copies of a set; the caller holds the lock.
func (c *imapSession) copies(set imap.NumSet, dest string) (*imap.CopyData, []mailOp, error) {
	to, err := c.find(dest)
	if err != nil {
		return nil, nil, refusal(imap.ResponseCodeTryCreate, "No such folder")
	}
	if to == c.folder {
		return nil, nil, refusal(imap.ResponseCodeCannot, "It is there already")
	}
	data := &imap.CopyData{UIDValidity: to.validity}
	var ops []mailOp
	for i, n := range c.chosen(set) {
		m := n.mail.Mail
		m.Folder, m.UID, m.Flags = to.name, to.next+uint32(i), slices.Clone(m.Flags)
		ops = append(ops, mailOp{Op: "moved", Box: c.box, Folder: to.name, Mail: &m, Trace: n.mail.trace})
		data.SourceUIDs.AddNum(imap.UID(n.mail.UID))
		data.DestUIDs.AddNum(imap.UID(m.UID))
	}
	return data, ops, nil
}

// Move puts mails into another folder, in one step.
func (c *imapSession) Move(w *imapserver.MoveWriter, set imap.NumSet, dest string) error {
	if err := c.trouble("MOVE", Before); err != nil {
		return err
	}
	data, err := c.move(set, dest)
	if err == nil {
		err = c.trouble("MOVE", After)
	}
	if err != nil || len(data.SourceUIDs) == 0 {
		return err
	}
	return w.WriteCopyData(data) // the tracker tells of what is gone
}

func (c *imapSession) move(set imap.NumSet, dest string) (*imap.CopyData, error) {
	c.o.store.mu.Lock()
	defer c.o.store.mu.Unlock()
	data, ops, err := c.copies(set, dest)
	if err != nil || len(ops) == 0 {
		return data, err
	}
	for _, n := range c.chosen(set) {
		ops = append(ops, mailOp{Op: "gone", Box: c.box, Folder: c.folder.name, UID: n.mail.UID})
	}
	return data, c.failure(c.o.store.commit(ops...))
}
