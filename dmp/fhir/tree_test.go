package fhir

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"ok/object", `{"a":[1,2.50,true,null,"x\"\\y"],"b":{}}`, true},
		{"ok/scalar", ` "x" `, true},
		{"ok/escaped name", `{"a\u0062":1}`, true},
		{"ok/depth at the bound", strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), true},
		{"fail/empty", ``, false},
		{"fail/two values", `{} {}`, false},
		{"fail/trailing comma", `{"a":1,}`, false},
		{"fail/comment", `{} // x`, false},
		{"fail/byte order mark", "\ufeff{}", false},
		{"fail/not UTF-8", "{\"a\":\"\xff\"}", false},
		{"fail/member twice", `{"a":1,"a":2}`, false},
		{"fail/member twice, escaped", `{"a":1,"\u0061":2}`, false},
		{"fail/member twice, deep", `[{"x":{"a":1,"a":2}}]`, false},
		{"fail/member twice, another case", `{"status":1,"Status":2}`, false},
		{"fail/too deep", strings.Repeat("[", MaxDepth+2) + strings.Repeat("]", MaxDepth+2), false},
		{"fail/too many", "[" + strings.Repeat("0,", MaxValues) + "0]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			if (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNode(t *testing.T) {
	n, err := Parse([]byte(`{"a":{"b":[{"c":"é\u00e9"},7]},"n":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Get("a", "b").Items()[0].Get("c").Text(); got != "éé" {
		t.Errorf("%q", got)
	}
	var none *Node
	if n.Get("a", "x", "y") != nil || n.Get("a").Text() != "" || none.Text() != "" || none.Raw() != nil || none.Items() != nil || none.Is(Null) || none.Get("a") != nil {
		t.Error("an absent value must be harmless")
	}
	if !n.Get("n").Is(Null) || string(n.Get("a", "b").Items()[1].Raw()) != "7" {
		t.Error("kinds and bytes")
	}
}

func TestSplice(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		edits          func(*Node) []Edit
	}{
		{"ok/nothing", `{ "a" : 1.0 }`, `{ "a" : 1.0 }`, func(*Node) []Edit { return nil }},
		{"ok/replace", `{"a": 1 ,"b":2}`, `{"a": 9 ,"b":2}`, func(n *Node) []Edit { return []Edit{n.Get("a").Replace("9")} }},
		{"ok/set what is there", `{"a":1}`, `{"a":2}`, func(n *Node) []Edit { return []Edit{n.Set("a", "2")} }},
		{"ok/add to an empty object", `{ }`, `{"a":2 }`, func(n *Node) []Edit { return []Edit{n.Set("a", "2")} }},
		{"ok/add first", `{"b":1}`, `{"a":2,"b":1}`, func(n *Node) []Edit { return []Edit{n.Set("a", "2")} }},
		{"ok/add after resourceType, in order", `{"x":0,"resourceType":"R","b":1}`, `{"x":0,"resourceType":"R","id":"1","meta":{},"b":1}`,
			func(n *Node) []Edit { return []Edit{n.Set("id", `"1"`), n.Set("meta", "{}")} }},
		{"ok/given out of order", `{"a":1,"b":[1,2]}`, `{"a":8,"b":[1,9]}`,
			func(n *Node) []Edit { return []Edit{n.Get("b").Items()[1].Replace("9"), n.Get("a").Replace("8")} }},
		{"ok/remove the first", `{ "a" : 1 , "b":2}`, `{ "b":2}`, func(n *Node) []Edit { return n.Remove("a") }},
		{"ok/remove the last", `{"a":1 , "b": 2 }`, `{"a":1 }`, func(n *Node) []Edit { return n.Remove("b") }},
		{"ok/remove the only", `{ "a":1 }`, `{  }`, func(n *Node) []Edit { return n.Remove("a") }},
		{"ok/remove what is not there", `{"a":1}`, `{"a":1}`, func(n *Node) []Edit { return n.Remove("b") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(Splice(n, c.edits(n)...)); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("ok/inside a larger value", func(t *testing.T) {
		n, err := Parse([]byte(`[0, {"a":1} ]`))
		if err != nil {
			t.Fatal(err)
		}
		one := n.Items()[1]
		if got := string(Splice(one, one.Set("a", "2"))); got != `{"a":2}` {
			t.Error(got)
		}
	})
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"ok/view", `{"resourceType":"DocumentReference","status":"current","unknown":{"x":1}}`, true},
		{"fail/misspelt", `{"resourceType":"DocumentReference","Status":"current"}`, false},
		{"fail/misspelt, deep", `{"content":[{"attachment":{"URL":"x"}}]}`, false},
		{"fail/other type", `{"status":7}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := Parse([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			var r DocumentReference
			if err := n.Decode(&r); (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
		})
	}
	if (*Node)(nil).Decode(&Bundle{}) == nil {
		t.Error("an absent value has no view")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":"\\\""}]}`, `{"resourceType":"Bundle","entry":[{"resource":{"id":"x"}}]}`, "[[", `{"a":1,"A":2}`, `"\ud800"`, `{"":0}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := Parse(data)
		if err != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatal("accepted what is not JSON")
		}
		if got := Splice(n); !bytes.Equal(got, bytes.Trim(data, " \t\r\n")) {
			t.Fatalf("%q became %q", data, got)
		}
		var visit func(*Node)
		visit = func(n *Node) {
			if !json.Valid(n.Raw()) {
				t.Fatalf("a value that is not JSON: %q", n.Raw())
			}
			for _, m := range n.Members() {
				if n.Get(m.Name) != m.Value {
					t.Fatalf("member %q is lost", m.Name)
				}
				visit(m.Value)
			}
			for _, i := range n.Items() {
				visit(i)
			}
		}
		visit(n)
		if n.Is(Object) {
			if changed := Splice(n, n.Set("id", `"x"`)); !json.Valid(changed) {
				t.Fatalf("spliced into %q", changed)
			}
			for _, m := range n.Members() {
				less, err := Parse(Splice(n, n.Remove(m.Name)...))
				if err != nil || less.Get(m.Name) != nil || len(less.Members()) != len(n.Members())-1 {
					t.Fatalf("%q removed: %v", m.Name, err)
				}
			}
		}
	})
}
