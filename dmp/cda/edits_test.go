package cda

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// edits are the one-fault edits of cda-edits.tsv, by the words of that file,
// in the language of mutants; a function where a path does not say it.
var edits = map[string]any{
	"every author removed":                         removeEvery("author"),
	"author id root 1.2.3.4.5":                     "set author/assignedAuthor/id/@root 1.2.3.4.5",
	"author time removed":                          "remove author/time",
	"birthTime removed":                            "remove recordTarget/patientRole/patient/birthTime",
	"birthplace removed":                           "remove recordTarget/patientRole/patient/birthplace",
	"confidentialityCode removed":                  "remove confidentialityCode",
	"confidentialityCode X":                        "set confidentialityCode/@code X",
	"custodian removed":                            "remove custodian",
	"custodian id root 1.2.3.4":                    "set custodian/assignedCustodian/representedCustodianOrganization/id/@root 1.2.3.4",
	"document effectiveTime removed":               "remove effectiveTime",
	"componentOf removed":                          "remove componentOf",
	"every documentationOf removed":                removeEvery("documentationOf"),
	"healthCareFacility code ZZ99":                 "set componentOf/encompassingEncounter/location/healthCareFacility/code/@code ZZ99",
	"first family qualifier AC":                    "set recordTarget/patientRole/patient/name/family/@qualifier AC",
	"administrativeGenderCode Z":                   "set recordTarget/patientRole/patient/administrativeGenderCode/@code Z",
	"first given name (BR) removed":                replaceFirst(`(?s)<given qualifier="BR">.*?</given>`, ""),
	"INS OID changed to …4.999":                    replaceFirst(`1\.2\.250\.1\.213\.1\.4\.10"`, `1.2.250.1.213.1.4.999"`),
	"languageCode removed":                         "remove languageCode",
	"languageCode fr":                              "set languageCode/@code fr",
	"legalAuthenticator removed":                   "remove legalAuthenticator",
	"comment inserted":                             "before setId <!-- un commentaire -->",
	"white space between elements":                 "before setId \n\n   ",
	"second valid patient telecom":                 `before recordTarget/patientRole/patient <telecom value="tel:0600000000" use="MC"/>`,
	"title changed":                                "text title Un autre titre",
	"versionNumber 7":                              "set versionNumber/@value 7",
	"participant typeCode ZZZ":                     "set participant/@typeCode ZZZ",
	"realmCode US":                                 "set realmCode/@code US",
	"recordTarget removed":                         "remove recordTarget",
	"recordTarget twice":                           "twice recordTarget",
	"relatedDocument typeCode XFRM":                "set relatedDocument/@typeCode XFRM",
	"setId removed":                                "remove setId",
	"first standardIndustryClassCode ZZ99":         replaceFirst(`(<standardIndustryClassCode[^>]*?\bcode=")[^"]*`, "${1}ZZ99"),
	"signatureCode X":                              replaceFirst(`(<signatureCode[^>]*?\bcode=")[^"]*`, "${1}X"),
	"author code ZZ/ZZ99":                          "set author/assignedAuthor/code/@code ZZ/ZZ99",
	"patient telecom value abc":                    "set recordTarget/patientRole/telecom/@value abc",
	"patient telecom with value and nullFlavor":    "set recordTarget/patientRole/telecom/@nullFlavor UNK",
	"title removed":                                "remove title",
	"templateId of HL7 France removed":             replaceFirst(`<templateId root="2\.16\.840\.1\.113883\.2\.8\.2\.1"\s*/>`, ""),
	"templateId of structuration minimale removed": replaceFirst(`<templateId root="1\.2\.250\.1\.213\.1\.1\.1\.1"\s*/>`, ""),
	"document code 99999-9":                        "set code/@code 99999-9",
	"typeId removed":                               "remove typeId",
	"foreign element before setId":                 "before setId <etranger/>",
	"versionNumber abc":                            "set versionNumber/@value abc",
	"versionNumber removed":                        "remove versionNumber",
}

type editor func(t *testing.T, doc []byte) []byte

func replaceFirst(pattern, with string) editor {
	re := regexp.MustCompile(pattern)
	return func(t *testing.T, doc []byte) []byte {
		loc := re.FindSubmatchIndex(doc)
		if loc == nil {
			t.Fatalf("%s does not occur", pattern)
		}
		out := append([]byte(nil), doc[:loc[0]]...)
		out = re.Expand(out, []byte(with), doc, loc)
		return append(out, doc[loc[1]:]...)
	}
}

func removeEvery(name string) editor {
	return func(t *testing.T, doc []byte) []byte {
		for {
			d, err := Read(doc)
			if err != nil {
				t.Fatal(err)
			}
			if d.root.one(name) == nil {
				return doc
			}
			if doc, err = applyEdit(doc, "remove "+name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReferenceEdits compares our verdict with that of the national schema and
// structuration minimale, on every edit whose national verdict we hold. The
// rules that are ours on top do not count.
func TestReferenceEdits(t *testing.T) {
	dir := reference(t)
	tsv, err := os.ReadFile(filepath.Join(dir, "cda-edits.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	agree, total := map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(tsv)) {
		cols := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(cols) < 4 || cols[0] == "file" {
			continue
		}
		name, edit, want := cols[0], cols[1], cols[2]
		total[want]++
		class := map[string]string{"PASS": "ok", "FAIL": "fail"}[want]
		t.Run(class+"/"+name+"/"+edit, func(t *testing.T) {
			doc, err := os.ReadFile(filepath.Join(dir, "cda", name))
			if err != nil {
				t.Fatal(err)
			}
			switch e := edits[edit].(type) {
			case string:
				if doc, err = applyEdit(doc, e); err != nil {
					t.Fatal(err)
				}
			case editor:
				doc = e(t, doc)
			default:
				t.Fatal("an edit that this test does not know")
			}
			got, found := verdictOf(doc)
			if got != want {
				t.Fatalf("ours is %s, the national one is %s: %v", got, want, found)
			}
			agree[want]++
		})
	}
	t.Logf("agreement: %d of %d that must pass, %d of %d that must fail", agree["PASS"], total["PASS"], agree["FAIL"], total["FAIL"])
	if total["PASS"] == 0 || total["FAIL"] == 0 {
		t.Error("no verdict to compare with")
	}
}
