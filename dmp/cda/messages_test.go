package cda

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReferenceMessages reads every CDA that the reference HL7 messages carry:
// real senders' documents. None may be refused at the door, except where the
// message carries something else than a CDA.
func TestReferenceMessages(t *testing.T) {
	dir := reference(t)
	read := 0
	err := filepath.WalkDir(filepath.Join(dir, "hl7v2"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for seg := range bytes.SplitSeq(bytes.ReplaceAll(raw, []byte("\n"), []byte("\r")), []byte("\r")) {
			f := strings.Split(string(seg), "|")
			if f[0] != "OBX" || len(f) < 6 || f[2] != "ED" {
				continue
			}
			b64 := strings.Split(f[5], "^")
			doc, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(b64[len(b64)-1], "= "))
			if err != nil || !bytes.Contains(doc, []byte("ClinicalDocument")) {
				continue
			}
			read++
			d, err := Read(doc)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
				continue
			}
			for _, b := range d.Blocking() {
				t.Errorf("%s: %v", filepath.Base(path), b)
			}
			m, _ := d.Metadata(doc)
			if m.UniqueID.Zero() || m.Type.Code == "" || m.Format.Code == "" || !m.Patient.HasINS() {
				t.Errorf("%s: %+v", filepath.Base(path), m)
			}
			for _, w := range d.Warnings() {
				t.Logf("%s: %s %v", filepath.Base(path), w.Severity, w)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read == 0 {
		t.Error("no CDA in the messages")
	}
	t.Logf("%d documents", read)
}
