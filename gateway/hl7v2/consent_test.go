package hl7v2_test

import (
	"slices"
	"testing"

	"github.com/passerelle-sante/passerelle/gateway"
	"github.com/passerelle-sante/passerelle/gateway/hl7v2"
)

func TestConsent(t *testing.T) {
	zfa := func(feeding, fed, consultation, consulted string) message {
		return adt().field("ZFA", 9, feeding).field("ZFA", 10, fed).field("ZFA", 11, consultation).field("ZFA", 12, consulted)
	}
	for name, tt := range map[string]struct {
		m        message
		want     *gateway.Consent
		warnings []string
	}{
		"ok/not opposed":        {m: adt(), want: &gateway.Consent{Feeding: "INO", FeedingDate: "2026-01-05", Consultation: "IC", ConsultationDate: "2026-01-05"}},
		"ok/opposed":            {m: zfa("IO", "20260106", "INC", "20260107093000+0100"), want: &gateway.Consent{Feeding: "IO", FeedingDate: "2026-01-06", Consultation: "INC", ConsultationDate: "2026-01-07"}},
		"ok/not collected":      {m: zfa("NA", "", "NA", ""), want: &gateway.Consent{Feeding: "NA", Consultation: "NA"}},
		"ok/one answer only":    {m: zfa("IO", "", "", ""), want: &gateway.Consent{Feeding: "IO"}},
		"ok/small letters":      {m: zfa("io", "20260106", "", ""), want: &gateway.Consent{Feeding: "IO", FeedingDate: "2026-01-06"}},
		"ok/ZFA where it likes": {m: adt().drop("ZFA").after("MSH", "ZFA|ACTIF|20260105|||||||IO|20260105"), want: &gateway.Consent{Feeding: "IO", FeedingDate: "2026-01-05"}},
		"ok/no ZFA":             {m: adt().drop("ZFA")},
		"ok/short ZFA":          {m: adt().drop("ZFA").after("PV1", "ZFA|ACTIF")},
		"ok/null value":         {m: zfa(`""`, "", "", "")},
		"ok/not of an ORU":      {m: oru().after("PID", "ZFA|ACTIF|20260105|||||||IO|20260105")},
		"fail/unknown code":     {m: zfa("OUI", "20260106", "IC", ""), want: &gateway.Consent{Consultation: "IC"}, warnings: []string{"HL7-FIELD-VALUE"}},
		"fail/no date":          {m: zfa("IO", "hier", "OUI", ""), want: &gateway.Consent{Feeding: "IO"}, warnings: []string{"HL7-FIELD-TYPE", "HL7-FIELD-VALUE"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := hl7v2.Read(tt.m.bytes(), hl7v2.Options{})
			if len(in.Refusals) > 0 {
				t.Fatal(codes(in.Refusals))
			}
			if (in.Consent == nil) != (tt.want == nil) || in.Consent != nil && *in.Consent != *tt.want {
				t.Errorf("consent %+v, want %+v", in.Consent, tt.want)
			}
			if got := notes(in.Warnings); !slices.Equal(got, tt.warnings) {
				t.Errorf("warnings %v, want %v", got, tt.warnings)
			}
		})
	}
}
