package dmp

import "strings"

// FormatTables names the versions of the tables that [FormatOfTemplate],
// [FormatOfMediaType] and [FormatAllowedOnDMP] answer from.
const FormatTables = "ASS_A11 20260629, ASS_A12 5.0.0, JDV_J60 20240927"

// FormatUnknownModel is the format of a structured document whose template has
// no row in ASS_A11.
const FormatUnknownModel = "urn:asipSante:modelesHorsProfils:2011"

// FormatOfTemplate gives the format of a structured CDA from the OID of one of
// its templates (ASS_A11).
func FormatOfTemplate(root string) (Code, bool) {
	f, ok := formatOfTemplates[root]
	if !ok {
		return Code{}, false
	}
	return Format(f), true
}

// FormatOfMediaType gives the format of a level 1 CDA from the media type of
// its body (ASS_A12).
func FormatOfMediaType(mediaType string) (Code, bool) {
	f, ok := formatOfMediaTypes[mediaType]
	if !ok {
		return Code{}, false
	}
	return Format(f), true
}

// Format completes a format code with the FHIR URI of its code system.
func Format(code string) Code {
	system := systemA06
	switch {
	case code == "1.2.840.10008.5.1.4.1.1.88.59":
		system = systemA09
	case code == "http://www.w3.org/2000/09/xmldsig#":
		system = systemA10
	case strings.HasPrefix(code, "urn:ihe:"), strings.HasPrefix(code, "urn:ihe-"):
		system = systemA11
	}
	return Code{Code: code, System: system}
}

// FormatAllowedOnDMP tells whether a format is in JDV_J60. Thirty-one targets
// of ASS_A11 are not: they are derived as the table says, and told.
func FormatAllowedOnDMP(code string) bool { return formatsOnDMP[code] }

var formatOfMediaTypes = map[string]string{
	"application/pdf": "urn:ihe:iti:xds-sd:pdf:2008",
	"text/plain":      "urn:ihe:iti:xds-sd:text:2008",
	"text/rtf":        "urn:ihe:iti-fr:xds-sd:rtf:2010",
	"image/jpeg":      "urn:ihe:iti-fr:xds-sd:jpeg:2010",
	"image/tiff":      "urn:ihe:iti-fr:xds-sd:tiff:2010",
}

// formatOfTemplates leaves out 1.3.6.1.4.1.19376.1.2.20, whose format is that
// of its media type.
var formatOfTemplates = map[string]string{
	"1.2.250.1.213.1.1.1.5.1":        "urn:asip:ci-sis:cse-cs8:2017",
	"1.2.250.1.213.1.1.1.5.2":        "urn:asip:ci-sis:cse-cs9:2017",
	"1.2.250.1.213.1.1.1.5.3":        "urn:asip:ci-sis:cse-cs24:2017",
	"1.2.250.1.213.1.1.1.5.4":        "urn:ans:ci-sis:cse-mde:2023",
	"1.2.250.1.213.1.1.1.8":          "urn:asip:ci-sis:frcp:2011",
	"1.2.250.1.213.1.1.1.9":          "urn:asip:ci-sis:idap:2011",
	"1.2.250.1.213.1.1.1.10":         "urn:asip:ci-sis:cva:2017",
	"1.2.250.1.213.1.1.1.12.1":       "urn:asip:ci-sis:obp-sap:2023",
	"1.2.250.1.213.1.1.1.12.2":       "urn:asip:ci-sis:obp-snm:2023",
	"1.2.250.1.213.1.1.1.12.3":       "urn:asip:ci-sis:obp-sne:2023",
	"1.2.250.1.213.1.1.1.12.4":       "urn:asip:ci-sis:obp-scm:2023",
	"1.2.250.1.213.1.1.1.12.5":       "urn:asip:ci-sis:obp-sem:2023",
	"1.2.250.1.213.1.1.1.13":         "urn:asip:ci-sis:vsm:2012",
	"1.2.250.1.213.1.1.1.15":         "urn:asip:ci-sis:aunv:2013",
	"1.2.250.1.213.1.1.1.16":         "urn:asip:ci-sis:eunv:2013",
	"1.2.250.1.213.1.1.1.17":         "urn:asip:ci-sis:sunv:2013",
	"1.2.250.1.213.1.1.1.18":         "urn:asip:ci-sis:crrtn:2013",
	"1.2.250.1.213.1.1.1.2.1.1":      "urn:asip:ci-sis:avk:2009",
	"1.2.250.1.213.1.1.1.2.1.2":      "urn:asip:ci-sis:tap:2009",
	"1.2.250.1.213.1.1.1.2.1.3":      "urn:asip:ci-sis:dci:2009",
	"1.2.250.1.213.1.1.1.2.1.4":      "urn:asip:ci-sis:psc:2009",
	"1.2.250.1.213.1.1.1.2.1.5":      "urn:asip:ci-sis:ppv:2009",
	"1.2.250.1.213.1.1.1.20":         "urn:asip:ci-sis:pps-paerpa:2017",
	"1.2.250.1.213.1.1.1.21":         "urn:asip:ci-sis:ldl-ees:2017",
	"1.2.250.1.213.1.1.1.22":         "urn:asip:ci-sis:dlu:2015",
	"1.2.250.1.213.1.1.1.23":         "urn:asip:ci-sis:fludt:2017",
	"1.2.250.1.213.1.1.1.24":         "urn:asip:ci-sis:fludr:2017",
	"1.2.250.1.213.1.1.1.25":         "urn:asip:ci-sis:pavc:2016",
	"1.2.250.1.213.1.1.1.26":         "urn:asip:ci-sis:pps-cancer:2017",
	"1.2.250.1.213.1.1.1.27":         "urn:asip:ci-sis:d2lm-fin:2017",
	"1.2.250.1.213.1.1.1.28":         "urn:asip:ci-sis:d2lm-fidd:2017",
	"1.2.250.1.213.1.1.1.29":         "urn:asip:ci-sis:ldl-ses:2017",
	"1.2.250.1.213.1.1.1.30":         "urn:asip:ci-sis:sdm-mr:2017",
	"1.2.250.1.213.1.1.1.32":         "urn:asip:ci-sis:crgm:2018",
	"1.2.250.1.213.1.1.1.36":         "urn:asip:ci-sis:hr:2019",
	"1.2.250.1.213.1.1.1.37":         "urn:asip:ci-sis:vac:2019",
	"1.2.250.1.213.1.1.1.38":         "urn:asip:ci-sis:tlm-da:2020",
	"1.2.250.1.213.1.1.1.40":         "urn:asip:ci-sis:cr-anest:2020",
	"1.2.250.1.213.1.1.1.41":         "urn:asip:ci-sis:cr-cpa:2020",
	"1.2.250.1.213.1.1.1.46":         "urn:asip:ci-sis:vac-note:2021",
	"1.2.250.1.213.1.1.1.47":         "urn:ans:ci-sis:img-da:2022",
	"1.2.250.1.213.1.1.1.48":         "urn:asip:ci-sis:dlu-dlu-dom:2022",
	"1.2.250.1.213.1.1.1.49":         "urn:asip:ci-sis:dlu-fludt-dom:2022",
	"1.2.250.1.213.1.1.1.50":         "urn:asip:ci-sis:dlu-fludr-dom:2022",
	"1.2.250.1.213.1.1.1.52":         "urn:ans:ci-sis:bio-ep-bio:2022",
	"1.2.250.1.213.1.1.1.58":         "urn:asip:ci-sis:export-dui:2023",
	"1.2.250.1.213.1.1.1.56":         "urn:asip:ci-sis:ppp:2023",
	"1.2.250.1.213.1.11.1.19.1":      "urn:ans:ci-sis:mso-rougeole:2026",
	"1.2.250.1.213.1.11.1.19.2":      "urn:ans:ci-sis:mso-dengue:2026",
	"1.2.250.1.213.1.11.1.19.3":      "urn:ans:ci-sis:mso-chikungunya:2026",
	"1.2.250.1.213.1.11.1.19.4":      "urn:ans:ci-sis:mso-zika:2026",
	"1.2.250.1.213.1.11.1.19.5":      "urn:ans:ci-sis:mso-westnile:2026",
	"1.2.250.1.213.1.1.1.39":         "urn:ihe:pharm:pre:2010",
	"1.2.250.1.213.1.1.1.54":         "urn:ihe:pharm:dis:2010",
	"1.2.250.1.213.1.1.1.42":         "urn:ihe:eyecare:geneyeevalcn:2014",
	"1.2.250.1.213.1.1.1.43":         "urn:ihe:eyecare:geneyeevalcn:2014",
	"1.2.250.1.213.1.1.1.44":         "urn:ihe:eyecare:geneyeevalcn:2014",
	"1.2.250.1.213.1.1.1.45":         "urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013",
	"1.2.250.1.213.1.1.1.55":         "urn:ihe:lab:xd-lab:2008",
	"1.2.250.1.213.1.1.1.57":         "urn:ihe:palm:apsr:2016",
	"1.3.6.1.4.1.19376.1.3.3":        "urn:ihe:lab:xd-lab:2008",
	"1.2.250.1.213.1.1.1.51":         "urn:ihe:pcc:ips:2020",
	"1.3.6.1.4.1.19376.1.8.1.1.1":    "urn:ihe:pat:apsr:all:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.1":  "urn:ihe:pat:apsr:breast:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.2":  "urn:ihe:pat:apsr:colon:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.3":  "urn:ihe:pat:apsr:prostate:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.4":  "urn:ihe:pat:apsr:thyroid:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.5":  "urn:ihe:pat:apsr:lung:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.6":  "urn:ihe:pat:apsr:skin:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.7":  "urn:ihe:pat:apsr:kidney:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.8":  "urn:ihe:pat:apsr:cervix:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.9":  "urn:ihe:pat:apsr:endometrium:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.10": "urn:ihe:pat:apsr:ovary:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.11": "urn:ihe:pat:apsr:esophagus:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.12": "urn:ihe:pat:apsr:stomach:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.13": "urn:ihe:pat:apsr:liver:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.14": "urn:ihe:pat:apsr:pancreas:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.15": "urn:ihe:pat:apsr:testis:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.16": "urn:ihe:pat:apsr:urinary_bladder:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.17": "urn:ihe:pat:apsr:lip_oral_cavity:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.18": "urn:ihe:pat:apsr:pharynx:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.19": "urn:ihe:pat:apsr:salivary_gland:2010",
	"1.3.6.1.4.1.19376.1.8.1.1.2.20": "urn:ihe:pat:apsr:larynx:2010",
}

var formatsOnDMP = words("1.2.840.10008.5.1.4.1.1.88.59 http://www.w3.org/2000/09/xmldsig# urn:ans:ci-sis:bio-ep-bio:2022 " +
	"urn:ans:ci-sis:cse-mde:2023 urn:ans:ci-sis:img-da:2022 urn:ans:ci-sis:trod:2024 " +
	"urn:asip:ci-sis:aunv:2013 urn:asip:ci-sis:avk:2009 urn:asip:ci-sis:cr-anest:2020 " +
	"urn:asip:ci-sis:cr-cpa:2020 urn:asip:ci-sis:crgm:2018 urn:asip:ci-sis:crrtn:2013 " +
	"urn:asip:ci-sis:cse-cs24:2017 urn:asip:ci-sis:cse-cs8:2017 urn:asip:ci-sis:cse-cs9:2017 " +
	"urn:asip:ci-sis:d2lm-fidd:2017 urn:asip:ci-sis:d2lm-fin:2017 urn:asip:ci-sis:dci:2009 " +
	"urn:asip:ci-sis:dlu:2015 urn:asip:ci-sis:dlu:2024 urn:asip:ci-sis:eunv:2013 " +
	"urn:asip:ci-sis:fludr:2017 urn:asip:ci-sis:fludt:2017 urn:asip:ci-sis:fr-su:2024 " +
	"urn:asip:ci-sis:frcp:2011 urn:asip:ci-sis:ft-su:2024 urn:asip:ci-sis:hr:2019 " +
	"urn:asip:ci-sis:idap:2011 urn:asip:ci-sis:ldl-ees:2017 urn:asip:ci-sis:ldl-ses:2017 " +
	"urn:asip:ci-sis:obp-sap:2023 urn:asip:ci-sis:obp-scm:2023 urn:asip:ci-sis:obp-sem:2023 " +
	"urn:asip:ci-sis:obp-sne:2023 urn:asip:ci-sis:obp-snm:2023 urn:asip:ci-sis:pavc:2016 " +
	"urn:asip:ci-sis:ppp:2023 urn:asip:ci-sis:pps-cancer:2017 urn:asip:ci-sis:pps-paerpa:2017 " +
	"urn:asip:ci-sis:ppv:2009 urn:asip:ci-sis:psc:2009 urn:asip:ci-sis:sdm-mr:2017 " +
	"urn:asip:ci-sis:sunv:2013 urn:asip:ci-sis:tap:2009 urn:asip:ci-sis:tlm-da:2020 " +
	"urn:asip:ci-sis:vac-note:2021 urn:asip:ci-sis:vac:2019 urn:asip:ci-sis:vsm:2012 " +
	"urn:asipSante:modelesHorsProfils:2011 urn:ihe:eyecare:geneyeevalcn:2014 " +
	"urn:ihe:iti-fr:xds-sd:jpeg:2010 urn:ihe:iti-fr:xds-sd:rtf:2010 urn:ihe:iti-fr:xds-sd:tiff:2010 " +
	"urn:ihe:iti:dsg:detached:2014 urn:ihe:iti:xds-sd:pdf:2008 urn:ihe:iti:xds-sd:text:2008 " +
	"urn:ihe:lab:xd-lab:2008 urn:ihe:palm:apsr:2016 urn:ihe:pcc:ips:2020 urn:ihe:pharm:dis:2010 " +
	"urn:ihe:pharm:pre:2010 urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013")
