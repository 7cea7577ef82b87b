package sim

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/passerelle-sante/passerelle/testdata"
)

const zam = "MSH|^~\\&|PASSERELLE|CH-ESSAIS|DPI-ESSAIS|CH-ESSAIS|20260105120000||ZAM^Z01^ZAM_Z01|G0007|T|2.6|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2\r" +
	"EVN||20260105120000\rOBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|M0001|Y^^expandedYes-NoIndicator||||||F\r"

// send sends within a bound that only a failure reaches.
func send(t *testing.T, s *Sandbox, msg string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ack, err := SendMLLP(ctx, s.Info().Hospital.MLLP, []byte(msg))
	return string(ack), err
}

func TestHospitalAcknowledges(t *testing.T) {
	s := start(t)
	ack, err := send(t, s, zam)
	if err != nil {
		t.Fatal(err)
	}
	want := "MSH|^~\\&|DPI-ESSAIS|CH-ESSAIS|PASSERELLE|CH-ESSAIS|20260105120000||ACK^Z01^ACK|H1|T|2.6|||||FRA|UNICODE UTF-8\rMSA|AA|G0007\r"
	if ack != want {
		t.Errorf("ack is\n%q\nwant\n%q", ack, want)
	}
	got := s.HospitalMessages()
	if len(got) != 1 || got[0].Raw != zam || got[0].Ack != want || got[0].Type != "ZAM^Z01^ZAM_Z01" || got[0].ControlID != "G0007" || got[0].Duplicate || !got[0].Received.Equal(noon) {
		t.Errorf("kept %+v", got)
	}
}

func TestHospitalFlagsDuplicates(t *testing.T) {
	s := start(t)
	for range 2 {
		if _, err := send(t, s, zam); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := send(t, s, strings.Replace(zam, "G0007", "G0008", 1)); err != nil {
		t.Fatal(err)
	}
	got := s.HospitalMessages()
	if len(got) != 3 || got[0].Duplicate || !got[1].Duplicate || got[2].Duplicate || got[0].ControlID != "G0008" {
		t.Errorf("newest first, the second flagged: %+v", got)
	}
}

func TestHospitalListIsBounded(t *testing.T) {
	h := &hospital{seen: map[string]bool{}}
	for i := range maxKept + 10 {
		h.remember(HospitalMessage{Number: i})
	}
	if list := h.received(); len(list) != maxKept || list[0].Number != maxKept+9 {
		t.Errorf("%d listed, the newest is %d", len(list), list[0].Number)
	}
	h.remember(HospitalMessage{Number: 1_000_000, Bytes: make([]byte, maxKeptBytes+1)})
	if list := h.received(); len(list) != 1 || list[0].Number != 1_000_000 {
		t.Errorf("%d listed after one that fills everything", len(list))
	}
}

func TestHospitalReadsAnyMessage(t *testing.T) {
	s := start(t)
	for _, c := range []struct{ name, msg, msa, kept string }{
		{"ok/MDM with a document", string(testdata.MDM(testdata.MessageOptions{})), "MSA|AA|M0001\r", "Masqué"},
		{"ok/ISO 8859-15", string(testdata.MDM(testdata.MessageOptions{Charset: testdata.Latin9})), "MSA|AA|M0001\r", "Masqué"},
		{"ok/line feeds", strings.ReplaceAll(zam, "\r", "\n"), "MSA|AA|G0007\r", "ZAM"},
		{"ok/other separators", string(testdata.ORU(testdata.MessageOptions{Separators: "#!~\\&"})), "MSA|AA|M0001\r", "ORU!R01"},
		{"fail/not HL7", "hello", "MSA|AR|\r", "hello"},
		{"fail/nothing", "", "MSA|AR|\r", ""},
		{"fail/short", "MSH|", "MSA|AR|\r", "MSH|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ack, err := send(t, s, c.msg)
			if err != nil || !strings.Contains(ack, c.msa) {
				t.Errorf("%v %q", err, ack)
			}
			last := s.HospitalMessages()[0]
			if !strings.Contains(last.Raw, c.kept) || !bytes.Equal(last.Bytes, []byte(c.msg)) {
				t.Errorf("kept %q", last.Raw)
			}
		})
	}
}

func TestHospitalKeepsSeveralOnOneConnection(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", s.Info().Hospital.MLLP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	for _, id := range []string{"A", "B"} {
		if _, err := conn.Write(frameOf([]byte(strings.Replace(zam, "G0007", id, 1)))); err != nil {
			t.Fatal(err)
		}
		ack, err := readFrame(r)
		if err != nil || !bytes.Contains(ack, []byte("MSA|AA|"+id+"\r")) {
			t.Errorf("%v %q", err, ack)
		}
	}
}

func TestHospitalTroubles(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble Trouble
		ack     string // empty: none
		kept    int
	}{
		{"ok/other type", Trouble{Mode: Down, Path: "MDM"}, "MSA|AA|", 1},
		{"ok/slow", Trouble{Mode: Slow, Milliseconds: 1}, "MSA|AA|", 1},
		{"fail/AE", Trouble{Mode: Refuse, Code: "AE"}, "MSA|AE|G0007\rERR|", 1},
		{"fail/AR", Trouble{Mode: Refuse, Code: "AR", Path: "ZAM^Z01"}, "MSA|AR|G0007\rERR|", 1},
		{"fail/down", Trouble{Mode: Down}, "", 0},
		{"fail/down once", Trouble{Mode: Down, Count: 1}, "", 0},
		{"fail/cut", Trouble{Mode: Cut}, "", 1},
		{"fail/cut in the ack", Trouble{Mode: Cut, Bytes: 30}, "", 1},
		{"fail/cut before", Trouble{Mode: Cut, When: Before}, "", 0},
		{"fail/lie", Trouble{Mode: Lie}, "MSA|AA|MENSONGE-G0007", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			s.SetHospitalTroubles(c.trouble)
			ack, err := send(t, s, zam)
			if (err == nil) != (c.ack != "") || !strings.Contains(ack, c.ack) {
				t.Errorf("%v %q", err, ack)
			}
			if got := s.HospitalMessages(); len(got) != c.kept {
				t.Errorf("kept %d, want %d", len(got), c.kept)
			}
			s.SetHospitalTroubles()
			if ack, err := send(t, s, zam); err != nil || !strings.Contains(ack, "MSA|AA|G0007") {
				t.Errorf("repaired: %v %q", err, ack)
			}
		})
	}
}

func TestHospitalDownHangsUp(t *testing.T) {
	s := start(t)
	conn, err := net.Dial("tcp", s.Info().Hospital.MLLP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(frameOf([]byte(zam))); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if _, err := readFrame(r); err != nil {
		t.Fatal(err)
	}
	s.SetHospitalTroubles(Trouble{Mode: Down})
	if _, err := r.ReadByte(); err == nil {
		t.Error("the open connection still speaks")
	}
}

func TestHospitalSilentAndHeld(t *testing.T) {
	s := start(t)
	exchange := func(msg string) chan string {
		got := make(chan string, 1)
		conn, err := net.Dial("tcp", s.Info().Hospital.MLLP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := conn.Write(frameOf([]byte(msg))); err != nil {
			t.Fatal(err)
		}
		go func() {
			ack, _ := readFrame(bufio.NewReader(conn))
			got <- string(ack)
		}()
		return got
	}
	s.SetHospitalTroubles(Trouble{Mode: Silent, Count: 1}, Trouble{Mode: Hold, Count: 1})
	silent := exchange(zam)
	eventually(t, "kept in silence", func() bool { return len(s.HospitalMessages()) == 1 })
	if m := s.HospitalMessages()[0]; m.Ack != "" {
		t.Errorf("a silent hospital notes the answer %q", m.Ack)
	}
	held := exchange(zam)
	eventually(t, "held", func() bool { return s.HospitalCounters().Held == 1 })
	if len(silent) != 0 || len(held) != 0 || s.HospitalCounters().Answered != 0 {
		t.Error("answered")
	}
	s.ReleaseHospital()
	if ack := <-held; !strings.Contains(ack, "MSA|AA|") {
		t.Errorf("released: %q", ack)
	}
}

func TestHospitalRemembers(t *testing.T) {
	dir := t.TempDir()
	s := startIn(t, dir)
	if _, err := send(t, s, zam); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves of a line that was not acknowledged.
	f, err := os.OpenFile(filepath.Join(dir, "hospital.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"received":"2026-`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, want := range []int{2, 3} {
		s = startIn(t, dir)
		ack, err := send(t, s, zam)
		if err != nil {
			t.Fatal(err)
		}
		got := s.HospitalMessages()
		if len(got) != want || !got[0].Duplicate || got[0].Number != want || !strings.Contains(ack, "|H"+string(rune('0'+want))+"|") {
			t.Errorf("after a restart: %d messages, %+v", len(got), got[0])
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSendMLLP(t *testing.T) {
	s := start(t)
	t.Run("fail/nobody", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		if _, err := SendMLLP(context.Background(), addr, []byte(zam)); err == nil {
			t.Error("sent to nobody")
		}
	})
	t.Run("fail/end of block inside", func(t *testing.T) {
		if _, err := SendMLLP(context.Background(), s.Info().Hospital.MLLP, []byte("MSH\x1c\r")); err == nil {
			t.Error("sent two frames for one")
		}
	})
	t.Run("fail/given up", func(t *testing.T) {
		s.SetHospitalTroubles(Trouble{Mode: Silent})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := SendMLLP(ctx, s.Info().Hospital.MLLP, []byte(zam))
			done <- err
		}()
		eventually(t, "kept", func() bool { return len(s.HospitalMessages()) == 1 })
		cancel()
		if err := <-done; err == nil {
			t.Error("answered in silence")
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(frameOf([]byte(zam)))
	f.Add([]byte("noise\x0bMSH|^~\\&|a\x1cb\x1c\x1c\r"))
	f.Add([]byte("\x0bMSH"))
	f.Add([]byte("\x0bMSH|^~\\&|||||||A\x1c|B\x1c|x\x1c\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := readFrame(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		m, ok := parseER7(msg)
		code := "AA"
		if !ok {
			code = "AR"
		}
		back, err := readFrame(bufio.NewReader(bytes.NewReader(frameOf(m.acknowledge(code, "H1", noon)))))
		if err != nil {
			t.Fatalf("the answer cannot be framed: %v", err)
		}
		ack, ok := parseER7(back)
		if !ok || ack.get("MSA", 1) != code {
			t.Fatalf("the answer cannot be read: %q", back)
		}
	})
}
