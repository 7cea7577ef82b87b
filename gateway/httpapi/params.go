package httpapi

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/passerelle-sante/passerelle/gateway/fault"
)

// asking lets a request through whose address has no other parameters than
// these, each once. What is ignored elsewhere is dangerous here: a deposit with
// ?dryrun=1 would be published, a list with a misspelt filter would be whole.
// The general parameters of FHIR (_format, _pretty, …) pass.
func asking(next handler, names ...string) handler {
	return func(w http.ResponseWriter, r *http.Request, c *caller) error {
		// URL.Query drops what it cannot read: ?dry_run=1;lang=en would be nothing.
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return fault.New(FaultParameter)
		}
		for name, list := range values {
			known := name == "lang" || slices.Contains(names, name) || strings.HasPrefix(r.URL.Path, "/fhir") && strings.HasPrefix(name, "_")
			if !known || len(list) > 1 || name == "lang" && list[0] != "fr" && list[0] != "en" {
				return fault.New(FaultParameter).At(safeName(name))
			}
		}
		return next(w, r, c)
	}
}

// flag reads a query parameter that is yes or no. One without a value is neither:
// ?dry_run would publish.
func flag(r *http.Request, name string) (bool, error) {
	switch values := r.URL.Query(); {
	case !values.Has(name), values.Get(name) == "0", values.Get(name) == "false":
		return false, nil
	case values.Get(name) == "1", values.Get(name) == "true":
		return true, nil
	}
	return false, fault.New(FaultField).At(name)
}

// begin reads what every deposit says beside its body, and counts the body.
func (a *API) begin(r *http.Request) (dry bool, key string, release func(), err error) {
	if dry, err = flag(r, "dry_run"); err != nil {
		return
	}
	if key, err = idempotencyKey(r); err != nil {
		return
	}
	release, err = a.hold(r)
	return
}

// contentType is what a body says it is. A compressed one is not taken: what it
// would become in memory is not what [API.hold] counts.
func contentType(r *http.Request) (kind string, params map[string]string, err error) {
	for _, coding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return "", nil, fault.New(FaultMediaType).At("Content-Encoding")
		}
	}
	if kind, params, err = mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil {
		return "", nil, fault.New(FaultMediaType)
	}
	return kind, params, nil
}
