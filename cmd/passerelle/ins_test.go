package main

import (
	"bytes"
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
