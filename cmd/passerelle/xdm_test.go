package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/dmp"
	"github.com/passerelle-sante/passerelle/dmp/cda"
	"github.com/passerelle-sante/passerelle/ins"
	"github.com/passerelle-sante/passerelle/mss"
	"github.com/passerelle-sante/passerelle/mss/xdm"
	"github.com/passerelle-sante/passerelle/testdata"
)

// zipOf takes the archive out of a letter.
func zipOf(t *testing.T, letter []byte) []byte {
	t.Helper()
	in, err := mss.Read(letter, mss.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	data, err := in.Archive()
	if err != nil || data == nil {
		t.Fatal("no archive: ", err)
	}
	return data
}

func xdmFiles(t *testing.T) func(names ...string) []string {
	t.Helper()
	other := testdata.Patients()[1]
	letter := func(o testdata.LetterOptions) []byte { return testdata.Letter(o) }
	good := letter(testdata.LetterOptions{})
	return writeAll(t, map[string][]byte{
		"lettre.eml": good,
		"lettre.zip": zipOf(t, good),
		"rplc.eml":   letter(testdata.LetterOptions{Replaces: true}),
		"casse.eml":  letter(testdata.LetterOptions{Archive: testdata.ArchiveMetadataCase}),
		"sans.eml":   letter(testdata.LetterOptions{Archive: testdata.ArchiveNone}),
		"hors.eml":   letter(testdata.LetterOptions{Archive: testdata.ArchiveTraversal}),
		"hash.eml":   letter(testdata.LetterOptions{Archive: testdata.ArchiveHash}),
		"dtd.eml":    letter(testdata.LetterOptions{Archive: testdata.ArchiveBadXML}),
		"zip.eml":    letter(testdata.LetterOptions{Archive: testdata.ArchiveNotZip}),
		"autre.eml":  letter(testdata.LetterOptions{Metadata: &other}),
		"texte.eml":  letter(testdata.LetterOptions{Content: []byte("bonjour")}),
		"deux.eml":   letter(testdata.LetterOptions{Second: &testdata.CDAOptions{Patient: other, ID: testdata.DocumentID(7)}}),
		"court.zip":  []byte("PK\x03\x04"),
		"vide.eml":   nil,
		"dsn.eml":    testdata.DSN(testdata.DSNOptions{}),
	})
}

func TestXDMCheck(t *testing.T) {
	at := xdmFiles(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"ok/mail", at("lettre.eml"), 0, []string{"lettre.eml : conforme", "IHE_XDM/SUBSET01/DOC00001.XML : nouveau document, 11502-2 ", "empreinte et taille exactes", "1 archive, 0 à mettre en quarantaine"}},
		{"ok/zip", at("lettre.zip"), 0, []string{"lettre.zip : conforme"}},
		{"ok/replacement", at("rplc.eml"), 0, []string{": remplacement, "}},
		{"ok/METADATA in lower case", at("casse.eml"), 0, []string{"casse.eml : conforme\n"}},
		{"ok/English", append(at("lettre.eml"), "--lang", "en"), 0, []string{"lettre.eml : correct", "new document", "1 archive, 0 for quarantine"}},
		{"fail/no archive", at("sans.eml"), exitWrong, []string{"refusée, 1 erreur", "GW-NO-ARCHIVE"}},
		{"fail/outside the archive", at("hors.eml"), exitWrong, []string{"XDM-PATH"}},
		{"fail/digest", at("hash.eml"), exitWrong, []string{"XDM-DIGEST", "lot[1]/document[1]/hash", "→ "}},
		{"fail/DTD", at("dtd.eml"), exitWrong, []string{"XDM-METADATA"}},
		{"fail/no zip", at("zip.eml"), exitWrong, []string{"XDM-ZIP"}},
		{"fail/cut zip", at("court.zip"), exitWrong, []string{"XDM-ZIP"}},
		{"fail/METADATA of another patient", at("autre.eml"), exitWrong, []string{"INS-MISMATCH", "IHE_XDM/SUBSET01/DOC00001.XML, "}},
		{"fail/no CDA", at("texte.eml"), exitWrong, []string{"CDA-"}},
		{"fail/two patients", at("deux.eml"), exitWrong, []string{"1 à mettre en quarantaine"}},
		{"fail/nothing", at("vide.eml"), exitWrong, []string{"1 à mettre en quarantaine"}},
		{"fail/delivery report", at("dsn.eml", "lettre.zip"), exitUsage, []string{"dsn.eml : accusé de remise ou de lecture", "lettre.zip : conforme"}},
		{"fail/time zone", append(at("lettre.eml"), "--zone", "Lune"), exitUsage, []string{"--zone"}},
		{"fail/absent file among others", at("absent.zip", "lettre.zip"), exitUsage, []string{"lettre.zip : conforme", "absent.zip : fichier ou dossier introuvable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := commandLine(t, append([]string{"xdm", "check"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit %d, want %d\n%s%s", code, c.code, out, errOut)
			}
			for _, w := range c.want {
				if !strings.Contains(out+errOut, w) {
					t.Errorf("%q is not in\n%s%s", w, out, errOut)
				}
			}
			saysNobody(t, out+errOut)
		})
	}
	_, out, _ := commandLine(t, append([]string{"xdm", "check", "--json"}, at("lettre.zip", "hash.eml")...)...)
	var r xdmReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Files) != 2 || r.Wrong != 1 || !r.Files[0].OK || r.Files[1].OK {
		t.Fatalf("%+v, %v", r, err)
	}
	if d := r.Files[0].Documents; len(d) != 1 || d[0].Action != dmp.New || d[0].UniqueID == "" || len(d[0].SHA1) != 40 {
		t.Errorf("%+v", d)
	}
}

// What we pack ourselves is told without a remark.
func TestXDMCheckOurOwn(t *testing.T) {
	content := testdata.CDA(testdata.CDAOptions{Level: 3})
	doc, err := cda.Read(content)
	if err != nil {
		t.Fatal(err)
	}
	md, _ := doc.Metadata(content)
	patient := md.Patient
	patient.Status = ins.Qualified
	archive, err := xdm.Pack([]xdm.Entry{{Metadata: md, Content: content, Action: dmp.New}}, xdm.Lot{
		UniqueID: dmp.ID{Root: "1.2.250.1.999.9"}, SourceID: "1.2.250.1.999.3", Submitted: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC), Patient: patient,
		ContentType: dmp.Code{Code: "04", System: "1.2.250.1.213.2.2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := writeAll(t, map[string][]byte{"IHE_XDM.zip": archive})
	if code, out, _ := commandLine(t, "xdm", "check", at("IHE_XDM.zip")[0]); code != 0 || strings.Contains(out, "avertissement") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestXDMListUnpack(t *testing.T) {
	at := xdmFiles(t)
	code, out, errOut := commandLine(t, "xdm", "list", at("lettre.eml")[0])
	var l struct {
		Lots      []struct{ UniqueID dmp.ID }
		Documents []struct {
			Name     string
			Metadata dmp.Metadata
		}
	}
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil || len(l.Lots) != 1 || len(l.Documents) != 1 ||
		l.Documents[0].Metadata.Type.Code != "11502-2" || l.Documents[0].Metadata.Patient.Matricule != testdata.Patients()[0].Matricule {
		t.Errorf("exit %d, %v\n%s%s", code, err, out, errOut)
	}
	dir := filepath.Join(t.TempDir(), "neuf")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"ok/written", append(at("lettre.eml"), "--out", dir), 0, "DOC00001.XML"},
		{"fail/there already", append(at("lettre.eml"), "--out", dir), exitUsage, "existe déjà"},
		{"fail/digest", append(at("hash.eml"), "--out", dir), exitWrong, "XDM-DIGEST"},
		{"fail/outside the archive", append(at("hors.eml"), "--out", dir), exitWrong, "XDM-PATH"},
		{"fail/absent file", append(at("absent.eml"), "--out", dir), exitUsage, "introuvable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if code, out, errOut := commandLine(t, append([]string{"xdm", "unpack"}, c.args...)...); code != c.code || !strings.Contains(out+errOut, c.want) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, c.code, c.want, out, errOut)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(dir, "IHE_XDM", "SUBSET01", "DOC00001.XML")); err != nil || string(b) != string(testdata.CDA(testdata.CDAOptions{})) {
		t.Errorf("the document is not that of the letter: %d bytes, %v", len(b), err)
	}
}
