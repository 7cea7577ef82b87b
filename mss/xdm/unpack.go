package xdm

import (
	"archive/zip"
	"bytes"
	"crypto/sha1"
	"crypto/subtle"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ratioFloor is the size under which a high compression ratio harms nobody.
const ratioFloor = 1 << 20

// Unpack reads an archive and checks every document against its metadata.
// Whatever the bytes are, it returns; a refusal is an [*Error].
func Unpack(data []byte, limits Limits) (*Archive, error) {
	u := &unpacker{lim: limits.orDefault(), byName: map[string]*zip.File{}, out: &Archive{}}
	if err := u.open(data); err != nil {
		return nil, err
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	sets := u.metadataFiles()
	if len(sets) == 0 {
		return nil, refuse(FaultNoMetadata, "")
	}
	described := map[string]bool{}
	for i, f := range sets {
		described[key(f.Name)] = true
		if err := u.lot(f, fmt.Sprintf("lot[%d]", i+1), described); err != nil {
			return nil, err
		}
	}
	if len(u.out.Documents) == 0 {
		return nil, refuse(FaultField, "documents")
	}
	u.layout(described)
	return u.out, nil
}

type unpacker struct {
	lim    Limits
	files  []*zip.File
	byName map[string]*zip.File // by key
	read   int64
	out    *Archive
}

// key is how names are compared: many readers of zips do not tell cases apart.
func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, "/")) }

func (u *unpacker) warn(code, where string) {
	w := Warning{Code: code, Where: where}
	if !slices.Contains(u.out.Warnings, w) {
		u.out.Warnings = append(u.out.Warnings, w)
	}
}

func (u *unpacker) open(data []byte) error {
	if int64(len(data)) > u.lim.Archive {
		return refuse(FaultLimit, "archive")
	}
	// The zip reader builds its whole directory before it returns. Its size is
	// bounded here; a stored inner zip also counts, hence the margin.
	if bytes.Count(data, []byte("PK\x01\x02")) > 16*u.lim.Entries {
		return refuse(FaultLimit, "entries")
	}
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && z == nil {
		return &Error{Code: FaultZip, Cause: err}
	}
	if len(z.File) > u.lim.Entries {
		return refuse(FaultLimit, "entries")
	}
	u.files = z.File
	return nil
}

// check refuses on names and kinds before one byte is uncompressed.
func (u *unpacker) check() error {
	var total uint64
	for i, f := range u.files {
		where := fmt.Sprintf("entry[%d]", i+1)
		if !safe(f.Name) {
			return refuse(FaultPath, where)
		}
		const encrypted = 1
		mode := f.Mode()
		switch {
		case f.Flags&encrypted != 0,
			f.Method != zip.Store && f.Method != zip.Deflate,
			!mode.IsRegular() && !mode.IsDir():
			return refuse(FaultEntry, where)
		}
		k := key(f.Name)
		if _, seen := u.byName[k]; seen {
			return refuse(FaultDuplicate, where)
		}
		u.byName[k] = f
		if f.UncompressedSize64 > uint64(u.lim.Entry) {
			return refuse(FaultLimit, where)
		}
		if f.UncompressedSize64 > ratioFloor && f.UncompressedSize64/uint64(u.lim.Ratio) > f.CompressedSize64 {
			return refuse(FaultLimit, where+"/ratio")
		}
		if total += f.UncompressedSize64; total > uint64(u.lim.Total) {
			return refuse(FaultLimit, "total")
		}
	}
	// A name cannot be both a file and the folder of another.
	for i, f := range u.files {
		for d := path.Dir(key(f.Name)); d != "." && d != "/"; d = path.Dir(d) {
			if parent, ok := u.byName[d]; ok && !strings.HasSuffix(parent.Name, "/") {
				return refuse(FaultDuplicate, fmt.Sprintf("entry[%d]", i+1))
			}
		}
	}
	return nil
}

// safe tells whether a name stays inside the archive on every system.
func safe(name string) bool {
	trimmed := strings.TrimSuffix(name, "/")
	if trimmed == "" || len(name) > 255 || !utf8.ValidString(name) || strings.ContainsAny(name, `\:`) {
		return false
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return false
		}
	}
	for part := range strings.SplitSeq(trimmed, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// content uncompresses one entry, inside the limits whatever its header says.
func (u *unpacker) content(f *zip.File, limit int64, where string) ([]byte, error) {
	limit = min(limit, u.lim.Entry, u.lim.Total-u.read)
	r, err := f.Open()
	if err != nil {
		return nil, &Error{Code: FaultZip, Where: where, Cause: err}
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(data)) > limit {
		return nil, refuse(FaultLimit, where)
	}
	if err != nil { // the checksum, or the compressed stream, is wrong
		return nil, &Error{Code: FaultZip, Where: where, Cause: err}
	}
	u.read += int64(len(data))
	return data, nil
}

// metadataFiles finds IHE_XDM/<lot>/METADATA.XML, in any case, in the order of
// their names.
func (u *unpacker) metadataFiles() []*zip.File {
	var found []*zip.File
	for _, f := range u.files {
		parts := strings.Split(key(f.Name), "/")
		if n := len(parts); n >= 3 && parts[n-1] == "metadata.xml" && parts[n-3] == "ihe_xdm" && !strings.HasSuffix(f.Name, "/") {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *zip.File) int { return strings.Compare(key(a.Name), key(b.Name)) })
	return found
}

func (u *unpacker) lot(f *zip.File, where string, described map[string]bool) error {
	raw, err := u.content(f, u.lim.Metadata, where)
	if err != nil {
		return err
	}
	set, err := readMetadata(raw, where, u.lim.Documents-len(u.out.Documents))
	if err != nil {
		return err
	}
	for _, w := range set.warnings {
		u.warn(w.Code, w.Where)
	}
	if u.out.PatientID == "" {
		u.out.PatientID, u.out.Patient = set.patientID, set.lot.Patient
	}
	if !samePatient(u.out.PatientID, set.patientID) {
		return refuse(FaultPatient, where)
	}
	u.out.Lots = append(u.out.Lots, set.lot)
	for i, d := range set.documents {
		doc, err := u.document(d, path.Dir(f.Name), fmt.Sprintf("%s/document[%d]", where, i+1), described)
		if err != nil {
			return err
		}
		u.out.Documents = append(u.out.Documents, *doc)
	}
	return nil
}

func (u *unpacker) document(d described, dir, where string, seen map[string]bool) (*Document, error) {
	// The URI is relative to METADATA.XML and may climb, inside the archive.
	name := path.Join(dir, d.uri)
	if strings.Contains(d.uri, `\`) || path.IsAbs(d.uri) || !safe(name) {
		return nil, refuse(FaultPath, where+"/URI")
	}
	f, ok := u.byName[key(name)]
	if !ok || strings.HasSuffix(f.Name, "/") {
		return nil, refuse(FaultMissingDocument, where+"/URI")
	}
	if f.Name != name {
		u.warn(FaultLayout, where+"/URI")
	}
	seen[key(name)] = true
	content, err := u.content(f, u.lim.Entry, where)
	if err != nil {
		return nil, err
	}
	if int64(len(content)) != d.meta.Size {
		return nil, refuse(FaultDigest, where+"/size")
	}
	sum := sha1.Sum(content)
	if subtle.ConstantTimeCompare(sum[:], d.meta.SHA1) != 1 {
		return nil, refuse(FaultDigest, where+"/hash")
	}
	return &Document{Name: f.Name, EntryUUID: d.uuid, Action: d.action, Metadata: d.meta, Content: content}, nil
}

// layout tells what ITI-32 asks of the archive and the reader can do without.
func (u *unpacker) layout(described map[string]bool) {
	for _, n := range []string{"INDEX.HTM", "README.TXT"} {
		if f, ok := u.byName[key(n)]; !ok || f.Name != n {
			u.warn(FaultLayout, n)
		}
	}
	for i, f := range u.files {
		k := key(f.Name)
		if strings.HasSuffix(f.Name, "/") || described[k] || k == "index.htm" || k == "readme.txt" {
			continue
		}
		u.warn(FaultUndescribed, fmt.Sprintf("entry[%d]", i+1))
	}
}
