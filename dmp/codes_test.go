package dmp

import (
	"strings"
	"testing"
)

func TestClassOf(t *testing.T) {
	all, onDMP := 0, 0
	for code, row := range classes {
		all++
		if row.dmp {
			onDMP++
		}
		c, ok := ClassOf(code)
		if !ok || c.Code != row.class || c.Display == "" {
			t.Errorf("%s: %+v", code, c)
		}
	}
	if all != 138 || onDMP != 109 { // the row counts that the sources publish
		t.Errorf("%d types, %d on the DMP", all, onDMP)
	}
	for _, c := range []struct {
		name, code, class string
		dmp               bool
	}{
		{"ok/consultation", "11488-4", "10", true},
		{"ok/biology", "11502-2", "10", true},
		{"ok/imaging", "18748-4", "31", true},
		{"ok/not on the DMP", "10213-7", "10", false},
		{"fail/unknown", "99999-9", "", false},
		{"fail/empty", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := ClassOf(c.code)
			if got.Code != c.class || ok != (c.class != "") || TypeAllowedOnDMP(c.code) != c.dmp {
				t.Errorf("%+v %v %v", got, ok, TypeAllowedOnDMP(c.code))
			}
		})
	}
}

func TestSystems(t *testing.T) {
	for _, s := range systems {
		if oid, ok := SystemOID(s.uri); !ok || oid != s.oid {
			t.Errorf("%s gives %s", s.uri, oid)
		}
		if uri, ok := SystemURI(s.oid); !ok || !strings.HasPrefix(uri, "http") {
			t.Errorf("%s gives %s", s.oid, uri)
		}
	}
	if uri, _ := SystemURI(OIDConfidentiality); uri != "http://terminology.hl7.org/CodeSystem/v3-Confidentiality" {
		t.Errorf("confidentiality is written %s", uri)
	}
	if _, ok := SystemURI("1.2.3"); ok {
		t.Error("an OID that nobody knows has a URI")
	}
	if _, ok := SystemOID("urn:x"); ok {
		t.Error("a URI that nobody knows has an OID")
	}
}

func TestFormats(t *testing.T) {
	if len(formatsOnDMP) != 62 { // the row count of JDV_J60
		t.Errorf("%d formats on the DMP", len(formatsOnDMP))
	}
	outside := map[string]bool{}
	for root := range formatOfTemplates {
		f, ok := FormatOfTemplate(root)
		if !ok || !strings.HasPrefix(f.System, nos) {
			t.Errorf("%s: %+v", root, f)
		}
		if !FormatAllowedOnDMP(f.Code) {
			outside[f.Code] = true
		}
	}
	if len(outside) != 31 { // as the notes of the sources say
		t.Errorf("%d targets outside JDV_J60", len(outside))
	}
	for m := range formatOfMediaTypes {
		if f, ok := FormatOfMediaType(m); !ok || !FormatAllowedOnDMP(f.Code) {
			t.Errorf("%s: %+v", m, f)
		}
	}
	if _, ok := FormatOfMediaType("application/dicom"); ok {
		t.Error("a media type that nobody knows has a format")
	}
}
