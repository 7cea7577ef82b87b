package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestINSCheck(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"ok/display form", []string{"2 79 03 51 215 189 89", "--oid", "1.2.250.1.213.1.4.10"}, 0, "valide"},
		{"ok/Corsica", []string{"180032B02040123"}, 0, "valide"},
		{"ok/wrong key on a test OID is a warning", []string{"279035121518988", "--oid", "1.2.250.1.213.1.4.10"}, 0, "INS-KEY"},
		{"ok/machine", []string{"180032B02040123", "--json"}, 0, `"valid":true`},
		{"fail/wrong key", []string{"180032B02040124"}, exitWrong, "INS-KEY"},
		{"fail/form", []string{"1234"}, exitWrong, "INS-FORM"},
		{"fail/unknown authority", []string{"180032B02040123", "--oid", "1.2.3"}, exitWrong, "INS-OID"},
		{"fail/retired INS-C", []string{"180032B02040123", "--oid", "1.2.250.1.213.1.4.2"}, exitWrong, "INS-C-RETIRED"},
		// Found by review, issue 6: its 22 digits were said to be a wrong form only.
		{"fail/retired INS-C, as long as it was", []string{"1234567890123456789012", "--oid", "1.2.250.1.213.1.4.2"}, exitWrong, "INS-C-RETIRED"},
		{"fail/test identity in production", []string{"279035121518989", "--oid", "1.2.250.1.213.1.4.10", "--env", "production"}, exitWrong, "INS-TEST-OID"},
		{"fail/machine", []string{"1234", "--json"}, exitWrong, `"valid":false`},
		{"fail/environment", []string{"180032B02040123", "--env", "lune"}, exitUsage, "env"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), append([]string{"ins", "check"}, tt.args...), &out, &out); code != tt.code {
				t.Errorf("exit %d, want %d\n%s", code, tt.code, &out)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("nothing about %q in:\n%s", tt.says, &out)
			}
		})
	}
}

func TestINSBatch(t *testing.T) {
	dir := t.TempDir()
	in, result := filepath.Join(dir, "in.csv"), filepath.Join(dir, "out.csv")
	tests := []struct {
		name, csv string
		args      []string
		code      int
		result    string
		says      string
	}{
		{"ok/one-good-line", "matricule;oid\n2 79 03 51 215 189 89;1.2.250.1.213.1.4.10\n", nil, 0, "line;verdict;findings\n2;ok;\n", "1 identité : 1 sans remarque"},
		{"ok/warning", "matricule,oid\n279035121518988,1.2.250.1.213.1.4.10\n", nil, 0, "line,verdict,findings\n2,warning,INS-KEY@matricule\n", "INS-KEY (avertissement)"},
		{"ok/machine", "matricule\n180032B02040123\n", []string{"--json"}, 0, "line,verdict,findings\n2,ok,\n", `"findings":[]`},
		{"fail/wrong-key", "matricule\n180032B02040124\n180032B02040124\n", nil, exitWrong, "line,verdict,findings\n2,error,INS-KEY@matricule\n3,error,INS-KEY@matricule\n", "2 × INS-KEY (erreur)"},
		{"fail/test-identity-in-production", "matricule;oid\n279035121518989;1.2.250.1.213.1.4.10\n", []string{"--env", "production"}, exitWrong, "line;verdict;findings\n2;error;INS-TEST-OID@oid\n", "INS-TEST-OID"},
		{"fail/no-column", "a;b\n1;2\n", nil, exitWrong, "", "INS-LINE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_ = os.Remove(result)
			if err := os.WriteFile(in, []byte(tt.csv), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if code := run(t.Context(), append([]string{"ins", "batch", in, "--out", result}, tt.args...), &out, &out); code != tt.code {
				t.Errorf("exit %d, want %d\n%s", code, tt.code, &out)
			}
			if got, _ := os.ReadFile(result); string(got) != tt.result {
				t.Errorf("result %q, want %q", got, tt.result)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("nothing about %q in:\n%s", tt.says, &out)
			}
		})
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The table of places can be described, made anew and given to those that use it
// (found by review, issue 6: there was a library and no command).
func TestINSPlaces(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	var npm bytes.Buffer
	z := gzip.NewWriter(&npm)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{{"package/package.json", `{"name":"@etalab/decoupage-administratif","version":"7.0.0"}`},
		{"package/data/communes.json", `[{"code":"51215","nom":"Dompremy","type":"commune-actuelle"}]`}} {
		err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))})
		if err == nil {
			_, err = io.WriteString(w, f[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	communes := file("communes.tgz", npm.String())
	countries := file("pays.tsv", "# source: essai\ncode\tdisplay\tdate_fin\n99350\tMaroc\t\n")
	table, people := filepath.Join(dir, "cog.gz"), file("in.csv", "birth_place\n51215\n63113\n")
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"ok/that of the program", []string{"places"}, 0, "@etalab/decoupage-administratif 6.0.0 (2026-03-09), from the code officiel géographique of INSEE; data under Licence Ouverte"},
		{"ok/that of the program knows both", []string{"batch", people, "--out", "-"}, 0, "3,ok"},
		{"fail/half of the sources", []string{"places", "--communes", communes, "--out", table}, exitUsage, "--countries"},
		{"fail/not the sources", []string{"places", "--communes", countries, "--countries", countries, "--out", table}, exitUsage, "n'est pas le fichier attendu"},
		{"fail/not there", []string{"batch", people, "--out", "-", "--places", table}, exitUsage, "cog.gz"},
		{"ok/made", []string{"places", "--communes", communes, "--countries", countries, "--out", table}, 0, "6 codes"},
		{"ok/described", []string{"places", table}, 0, "6 codes"},
		{"ok/used", []string{"batch", people, "--out", "-", "--places", table}, 0, "3,warning,INS-PLACE-UNKNOWN@birth_place"},
		{"fail/no table", []string{"places", people}, exitUsage, "table des communes et des pays illisible"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), append([]string{"ins"}, tt.args...), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.says, &out)
			}
		})
	}
}

func TestINSDatamatrix(t *testing.T) {
	dir := t.TempDir()
	write := func(name, status string) string {
		file := filepath.Join(dir, name)
		id := `{"matricule":"279035121518989","oid":"1.2.250.1.213.1.4.10","status":"` + status + `","traits":{"birth_name":"PAT-TROIS","first_given":"DOMINIQUE","given_names":"DOMINIQUE MARIE-LOUISE","sex":"F","birth_date":"1979-03-28","birth_place":"51215"}}`
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	qualified, retrieved := write("qual.json", "QUAL"), write("recup.json", "RECUP")
	png, svg := filepath.Join(dir, "a.png"), filepath.Join(dir, "a.svg")
	text := "IS010000000000000000000000S1279035121518989S21.2.250.1.213.1.4.10S3DOMINIQUE MARIE-LOUISE\x1dS4PAT-TROIS\x1dS5FS628-03-1979S751215"
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"ok/text", []string{"datamatrix", qualified}, 0, text},
		{"ok/images", []string{"datamatrix", qualified, "--png", png, "--svg", svg}, 0, ""},
		{"ok/image-read-back", []string{"scan", "--image", png}, 0, "2 79 03 51 215 189 89"},
		{"ok/scan-never-qualifies", []string{"scan", text, "--json"}, 0, `"status":"PROV"`},
		{"fail/not-qualified", []string{"datamatrix", retrieved, "--png", filepath.Join(dir, "b.png")}, exitWrong, "INS-"},
		{"fail/no-identity", []string{"datamatrix", png}, exitUsage, "JSON"},
		{"fail/module", []string{"datamatrix", qualified, "--png", png, "--module", "90"}, exitUsage, "--module"},
		{"fail/no-datamatrix", []string{"scan", "DC04"}, exitWrong, "SCAN-HEADER"},
		{"fail/no-image", []string{"scan", "--image", qualified}, exitWrong, "SCAN-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), append([]string{"ins"}, tt.args...), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit %d, want %d and %q\n%s", code, tt.code, tt.says, &out)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "b.png")); err == nil {
		t.Error("a symbol was drawn of an identity that is not qualified")
	}
	if drawn, err := os.ReadFile(svg); err != nil || !bytes.Contains(drawn, []byte("<svg")) {
		t.Errorf("no drawing: %v", err)
	}
}
