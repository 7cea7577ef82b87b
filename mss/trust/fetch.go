package trust

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ProxyFunc chooses the proxy of a request; nil: none.
type ProxyFunc func(*http.Request) (*url.URL, error)

func newClient(t *tls.Config, proxy ProxyFunc, timeout time.Duration) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: t, Proxy: proxy, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: 64 << 10,
	}
	return &http.Client{
		Transport: transport, Timeout: timeout,
		// Whoever redirects is not the source that was configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetched is what a source answered.
type fetched struct {
	data      []byte
	etag      string
	modified  string
	unchanged bool // 304
}

var errTooLarge = errors.New("larger than the limit")

// get reads one file of at most max bytes. Errors tell nothing of the content.
func get(ctx context.Context, client *http.Client, address string, since note, max int64) (fetched, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fetched{}, err
	}
	if since.ETag != "" {
		req.Header.Set("If-None-Match", since.ETag)
	}
	if since.Modified != "" {
		req.Header.Set("If-Modified-Since", since.Modified)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fetched{}, err
	}
	defer resp.Body.Close()
	conditional := since.ETag != "" || since.Modified != ""
	switch {
	case resp.StatusCode == http.StatusNotModified && conditional:
		return fetched{unchanged: true, etag: since.ETag, modified: since.Modified}, nil
	case resp.StatusCode != http.StatusOK:
		return fetched{}, errors.New("status " + strconv.Itoa(resp.StatusCode))
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	if err != nil {
		return fetched{}, err
	}
	if int64(len(data)) > max {
		return fetched{}, errTooLarge
	}
	return fetched{data: data, etag: bounded(resp.Header.Get("ETag")), modified: bounded(resp.Header.Get("Last-Modified"))}, nil
}

// bounded leaves out a validator that is not worth keeping.
func bounded(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}
