package sim

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// readMail reads up to the final dot and takes the dots off. What RFC 5321 does
// not allow is read to its end and refused: a bare LF or CR, for another server
// could see another end there; a line over its limit.
func readMail(r *bufio.Reader, limit int64) ([]byte, string, error) {
	var b bytes.Buffer
	refusal := ""
	refuse := func(s string) {
		if refusal == "" {
			refusal = s
		}
	}
	start, length := true, 0
	for {
		chunk, err := r.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		if err != nil && whole {
			return nil, "", err
		}
		if start && string(chunk) == ".\r\n" {
			return b.Bytes(), refusal, nil
		}
		if start {
			chunk, _ = bytes.CutPrefix(chunk, []byte("."))
		}
		length += len(chunk)
		if length > maxLine {
			refuse("554 5.6.0 A line is over 998 characters")
		}
		text, ok := bytes.CutSuffix(chunk, []byte("\r\n"))
		if (whole && !ok) || bytes.ContainsRune(text, '\r') || bytes.ContainsRune(text, 0) {
			refuse("554 5.6.0 A line does not end with CRLF, or holds NUL")
		}
		if int64(b.Len()+len(chunk)) > limit {
			refuse("552 5.3.4 Message size exceeds " + strconv.FormatInt(limit, 10))
		} else if refusal == "" {
			b.Write(chunk)
		}
		start = whole && ok
		if whole {
			length = 0
		}
	}
}

// pathOf reads FROM:<address> or TO:<address> and the parameters behind it.
func pathOf(arg, prefix string) (string, map[string]string, bool) {
	if len(arg) < len(prefix) || !strings.EqualFold(arg[:len(prefix)], prefix) {
		return "", nil, false
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(arg[len(prefix):], " "), "<")
	address, rest, found := strings.Cut(rest, ">")
	if !ok || !found || len(address) > 254 || strings.ContainsAny(address, "<\" ") || (rest != "" && rest[0] != ' ') {
		return "", nil, false
	}
	params := map[string]string{}
	for _, word := range strings.Fields(rest) {
		name, value, _ := strings.Cut(word, "=")
		name = strings.ToUpper(name)
		if _, twice := params[name]; twice || len(params) >= 10 {
			return "", nil, false
		}
		params[name] = value
	}
	return address, params, true
}

// xtext decodes RFC 3461 xtext into printable ASCII.
func xtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c = byte(n)
			i += 2
		case c == '=':
			return "", false
		}
		if c < ' ' || c > '~' {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), s != ""
}

func validNotify(s string) bool {
	words := strings.Split(s, ",")
	seen := map[string]bool{}
	for _, w := range words {
		if seen[w] || !slices.Contains([]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}, w) {
			return false
		}
		seen[w] = true
	}
	return !seen["NEVER"] || len(words) == 1
}
