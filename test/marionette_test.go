package test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"coredns-smimea/internal/harness"
)

// A marionette is a connection to a Thunderbird's Marionette, by which its windows
// are seen from inside. The protocol is length:[type, id, command, parameters].
type marionette struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	last int
}

func dialMarionette(t *testing.T, addr string) (*marionette, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	m := &marionette{t: t, conn: conn, r: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := m.read(); err != nil { // its greeting
		conn.Close()
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return m, nil
}

func (m *marionette) read() ([]byte, error) {
	length, err := m.r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return nil, err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(m.r, text)
	return text, err
}

// command sends a command, and stores what it returns in result.
func (m *marionette) command(name string, parameters map[string]any, result any) error {
	m.last++
	text, err := json.Marshal([]any{0, m.last, name, parameters})
	if err != nil {
		return err
	}
	m.conn.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(text), text); err != nil {
		return err
	}
	if text, err = m.read(); err != nil {
		return err
	}
	var reply [4]json.RawMessage
	if err := json.Unmarshal(text, &reply); err != nil {
		return err
	}
	if string(reply[2]) != "null" {
		return fmt.Errorf("%s: %s", name, reply[2])
	}
	if result == nil {
		return nil
	}
	if b, ok := result.(bare); ok {
		return json.Unmarshal(reply[3], b.to)
	}
	wrapped := struct{ Value any }{result}
	return json.Unmarshal(reply[3], &wrapped)
}

// open begins a session among the windows of the program itself.
func (m *marionette) open() {
	m.t.Helper()
	if err := m.command("WebDriver:NewSession", map[string]any{}, nil); err != nil {
		m.t.Fatal(err)
	}
	if err := m.command("Marionette:SetContext", map[string]any{"value": "chrome"}, nil); err != nil {
		m.t.Fatal(err)
	}
}

// script runs JavaScript with all privileges, and stores what it returns.
func (m *marionette) script(result any, script string, args ...any) {
	m.t.Helper()
	if args == nil {
		args = []any{}
	}
	if err := m.command("WebDriver:ExecuteScript", map[string]any{"script": script, "args": args, "sandbox": "system"}, result); err != nil {
		m.t.Fatalf("%v\n%s", err, script)
	}
}

// screenshot returns a picture, PNG, of the first window for which a script
// returns true.
func (m *marionette) screenshot(script string, args ...any) []byte {
	m.t.Helper()
	var handles []string
	var text string
	must := func(err error) {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
	}
	must(m.command("WebDriver:GetWindowHandles", map[string]any{}, bare{&handles}))
	for _, handle := range handles {
		must(m.command("WebDriver:SwitchToWindow", map[string]any{"handle": handle}, nil))
		found := false
		if m.script(&found, script, args...); !found {
			continue
		}
		must(m.command("WebDriver:TakeScreenshot", map[string]any{"full": false}, &text))
		png, err := base64.StdEncoding.DecodeString(text)
		must(err)
		return png
	}
	m.t.Fatalf("no window is the one for the picture")
	return nil
}

// A bare result is not wrapped in an object.
type bare struct{ to any }
