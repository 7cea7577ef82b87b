package httpapi

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var openAPIText []byte

// OpenAPI is the description of /v1 that the gateway serves.
func OpenAPI() []byte { return openAPIText }

func openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	_, _ = w.Write(openAPIText) // the caller went away: nobody is left to tell
}
