//go:build !nosandbox

package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// chromium is a real browser, driven over its own protocol on two pipes.
type chromium struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	session string
	calls   int
	shots   int
}

// startChromium opens a window without a screen. It trusts the certificates of
// the hosts that are named, and no others than a browser does.
func startChromium(t *testing.T, hosts ...string) *chromium {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	var keys []string
	for _, host := range hosts {
		keys = append(keys, publicKeyDigest(t, host))
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--lang=fr-FR", "--window-size=1280,1000", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(),
		"--ignore-certificate-errors-spki-list="+strings.Join(keys, ","), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, theirOut}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirs.Close(), theirOut.Close()
	c := &chromium{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		c.send("Browser.close", nil)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		_, _ = in.Close(), out.Close()
	})
	// A browser that does not answer must not hold the test for ever.
	if err := out.SetReadDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	var targets struct {
		TargetInfos []struct{ TargetID, Type string }
	}
	c.call("Target.getTargets", nil, &targets)
	for _, target := range targets.TargetInfos {
		if target.Type == "page" {
			var attached struct{ SessionID string }
			c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
			c.session = attached.SessionID
		}
	}
	if c.session == "" {
		t.Fatal("chromium has no page")
	}
	return c
}

// publicKeyDigest names the key of a server as Chromium does.
func publicKeyDigest(t *testing.T, host string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", host, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // its key is read, nothing is said
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (c *chromium) send(method string, params any) int {
	c.calls++
	message := map[string]any{"id": c.calls, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = c.session
	}
	data, err := json.Marshal(message)
	if err == nil {
		_, err = c.in.Write(append(data, 0))
	}
	if err != nil {
		c.t.Error(err)
	}
	return c.calls
}

// try makes one call and gives what the browser refused.
func (c *chromium) try(method string, params, result any) error {
	c.t.Helper()
	id := c.send(method, params)
	for {
		data, err := c.out.ReadBytes(0)
		if err != nil {
			c.t.Fatalf("chromium is gone: %v", err)
		}
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(data[:len(data)-1], &answer); err != nil {
			c.t.Fatal(err)
		}
		switch {
		case answer.ID != id: // an event
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(answer.Result, result)
		}
	}
}

func (c *chromium) call(method string, params, result any) {
	c.t.Helper()
	if err := c.try(method, params, result); err != nil {
		c.t.Fatal(err)
	}
}

// eval asks the page; an error means that it is being left.
func (c *chromium) eval(expression string) (string, error) {
	c.t.Helper()
	var answer struct {
		Result struct{ Value any }
		Thrown *struct{ Text string } `json:"exceptionDetails"`
	}
	if err := c.try("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer); err != nil {
		return "", err
	}
	if answer.Thrown != nil {
		return "", fmt.Errorf("%s: %s", expression, answer.Thrown.Text)
	}
	return fmt.Sprint(answer.Result.Value), nil
}

// open goes to an address.
func (c *chromium) open(address string) {
	c.t.Helper()
	var went struct{ ErrorText string }
	c.call("Page.navigate", map[string]any{"url": address}, &went)
	if went.ErrorText != "" {
		c.t.Fatalf("%s: %s", address, went.ErrorText)
	}
}

// sees waits until a page that is fully loaded shows all the texts to a person.
func (c *chromium) sees(texts ...string) {
	c.t.Helper()
	shown := ""
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		ready, err := c.eval(`document.readyState`)
		if err == nil && ready == "complete" {
			if shown, err = c.eval(`document.body.innerText`); err == nil && containsAll(shown, texts) {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	where, _ := c.eval(`location.href`)
	c.shot("perdu")
	c.t.Fatalf("%s does not show %q:\n%s", where, texts, shown)
}

func containsAll(s string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(s, text) {
			return false
		}
	}
	return true
}

// do acts on the page as a person would: the expression must find something.
func (c *chromium) do(expression string) {
	c.t.Helper()
	if _, err := c.eval(expression); err != nil {
		c.shot("perdu")
		c.t.Fatal(err)
	}
}

// follow clicks the first link or button of that text.
func (c *chromium) follow(text string) {
	c.t.Helper()
	c.do(`[...document.querySelectorAll("a,button")].find(e => e.innerText.includes(` + strconv.Quote(text) + `)).click()`)
}

// shot leaves pictures among the artifacts of the test (go test -artifacts), of a
// desk and of a phone, where the page must not be wider than the screen.
func (c *chromium) shot(name string) {
	c.t.Helper()
	c.shots++
	for _, width := range []int{1280, 400} {
		c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": false}, nil)
		if wide, err := c.eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); err == nil && wide != "0" {
			c.t.Errorf("%s at %d pixels: the page is %s pixels too wide", name, width, wide)
		}
		var size struct {
			CSSContentSize struct{ Width, Height float64 }
		}
		c.call("Page.getLayoutMetrics", nil, &size)
		var picture struct{ Data []byte }
		c.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true,
			"clip": map[string]any{"x": 0, "y": 0, "width": width, "height": min(size.CSSContentSize.Height, 4000), "scale": 1}}, &picture)
		file := filepath.Join(c.t.ArtifactDir(), fmt.Sprintf("%02d-%s-%d.png", c.shots, name, width))
		if err := os.WriteFile(file, picture.Data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	c.call("Emulation.clearDeviceMetricsOverride", nil, nil)
}
