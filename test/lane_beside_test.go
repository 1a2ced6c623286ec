package test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"coredns-smimea/internal/harness"
)

// TestLaneTSIG asks another block of the lane's address with TSIG, which goes through
// the lane's socket: it is verified, and the reply is signed.
func TestLaneTSIG(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	tsig := "tsig {\nsecret key. " + neighbourSecret + "\nrequire all\n}"
	other := t.TempDir()
	users(t, other, "example.net")
	s := startServer(t, block("example.com", smimea(dir, ""))+block("example.net", tsig, smimea(other, "")))
	inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
	passed := metric(t, "lane_queries_total", "server=dns://"+s.addr, "how=passed")
	askTSIG(t, s.addr, "alice._smime.example.net.", dns.TypeTXT)
	m := new(dns.Msg)
	m.SetQuestion("alice._smime.example.net.", dns.TypeTXT)
	m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
	c := &dns.Client{Timeout: lostAfter, TsigSecret: map[string]string{"key.": neighbourSecret}}
	if reply, _, err := c.Exchange(m, s.addr); err != nil || reply.Rcode != dns.RcodeSuccess || len(reply.Answer) == 0 || reply.IsTsig() == nil {
		t.Errorf("TSIG without EDNS: %v\n%v", err, reply)
	}
	if n := metric(t, "lane_queries_total", "server=dns://"+s.addr, "how=passed"); n <= passed {
		t.Errorf("no query with TSIG has come through the lane")
	}
	c.TsigSecret["key."] = strings.Replace(neighbourSecret, "N", "M", 1)
	m.SetTsig("key.", dns.HmacSHA256, 300, time.Now().Unix())
	if reply, _, err := c.Exchange(m, s.addr); reply == nil || reply.Rcode != dns.RcodeNotAuth {
		t.Errorf("TSIG of another secret: %v\n%v", err, reply)
	}
	if reply, _ := ask(t, s.addr, question{name: "alice._smime.example.net.", qtype: dns.TypeTXT}); reply.Rcode != dns.RcodeRefused {
		t.Errorf("without TSIG:\n%v", reply)
	}
}

// TestLaneShut has plugins that must see each query, in the block or at its address:
// the log says why there is no lane, once, and all are answered.
func TestLaneShut(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	view := "view loopback {\nexpr client_ip() == '127.0.0.1'\n}"
	for _, c := range []struct{ name, corefile, why string }{
		{"view", block("example.com", view, smimea(dir, "")), "*view* chooses the queries"},
		{"shed", block("example.com", "shed", smimea(dir, "")), "*shed*"},
		{"shed in another block", block("example.com", smimea(dir, "")) + block("example.net", "shed", "whoami"), "*shed*"},
		{"proxyproto", block("example.com", "proxyproto {\ndefault skip\n}", smimea(dir, "")), "*proxyproto* reads what comes in"},
		{"acl", block("example.com", "acl {\nallow type * net 127.0.0.1/32\nblock\n}", smimea(dir, "")), "*acl* has to see the queries"},
		{"log", block("example.com", "log", smimea(dir, "")), "has to see the answers"},
		{"the same zone twice", block("example.com", view, "whoami") + block("example.com", smimea(dir, "")), "another block serves example.com., too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startProcess(t, "", c.corefile)
			reason := func() int {
				n := 0
				for line := range strings.Lines(s.log.String()) {
					if strings.Contains(line, "No fast lane") && strings.Contains(line, c.why) {
						n++
					}
				}
				return n
			}
			waitFor(t, "the reason", func() bool { return reason() > 0 })
			if c.name == "the same zone twice" {
				return // its queries are *whoami*'s
			}
			for range 20 {
				m, _ := ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT, size: 1232})
				if len(m.Answer) == 0 {
					t.Fatalf("no answer:\n%v", m)
				}
			}
			if n := reason(); n != 1 {
				t.Errorf("the log says %d times why there is no lane:\n%s", n, s.log)
			}
		})
	}
}

// TestLaneBesideDoT serves a zone over plain DNS and over TLS: the lane is of the
// one, and the other is untouched.
func TestLaneBesideDoT(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	certFile, keyFile := tlsPair(t, t.TempDir(), "example.com")
	dot := harness.Loopback(freePort(t))
	over := strings.Replace(block("example.com", "tls "+certFile+" "+keyFile, smimea(dir, "")), "example.com:PORT", "tls://example.com:"+portOf(dot), 1)
	s := startServer(t, block("example.com", smimea(dir, ""))+over)
	inLane(t, s.addr, "dns://"+s.addr, "alice._smime.example.com.", dns.TypeTXT)
	m := new(dns.Msg)
	m.SetQuestion("alice._smime.example.com.", dns.TypeTXT)
	c := &dns.Client{Net: "tcp-tls", Timeout: lostAfter, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	if reply, _, err := c.Exchange(m, dot); err != nil || len(reply.Answer) == 0 {
		t.Errorf("over TLS: %v\n%v", err, reply)
	}
	if n := metric(t, "lane_queries_total", "server=tls://"+dot); n > 0 {
		t.Errorf("a lane for DNS over TLS")
	}
}

// TestLaneSIGUSR1 reloads the real binary by its signal, under load.
func TestLaneSIGUSR1(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	side := harness.Loopback(freePort(t))
	rest := block("example.net", "prometheus "+side, "whoami")
	corefiles := []string{block("example.com", smimea(dir, "")) + rest, block("example.com", smimea(dir, "udp_limit 1200")) + rest}
	s := startProcess(t, "", corefiles[0])
	laned := func(what string) {
		t.Helper()
		waitFor(t, what, func() bool {
			before := lanesAnswered(t, side)
			ask(t, s.addr, question{name: "alice._smime.example.com.", qtype: dns.TypeTXT})
			return lanesAnswered(t, side) > before
		})
	}
	laned("the lane")
	var stop atomic.Bool
	var asked, lost, reloads atomic.Int64
	done := make(chan error)
	t.Cleanup(func() { stop.Store(true) })
	go func() { done <- askSteadily(t, s.addr, &stop, &asked, &lost, &reloads) }()
	for i := range 12 {
		reloads.Store(int64(i))
		before := asked.Load()
		s.signal(t, corefiles[i%2], "Reloading complete", i+1)
		waitFor(t, "more queries", func() bool { return asked.Load() > before+20 })
	}
	stop.Store(true)
	if err := <-done; err != nil || lost.Load() > 0 || asked.Load() == 0 {
		t.Errorf("%d of %d queries got no answer, %v", lost.Load(), asked.Load(), err)
	}
	laned("the lane after SIGUSR1")
}

// lanesAnswered returns how many queries the lanes of a process have answered.
func lanesAnswered(t *testing.T, prometheus string) int {
	t.Helper()
	n := 0.0
	for line := range strings.Lines(metricsAt(t, prometheus)) {
		if strings.HasPrefix(line, "coredns_smimea_lane_queries_total{how=\"answered\"") {
			value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " "):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			n += value
		}
	}
	return int(n)
}

// TestLaneCannot denies the binary what a lane needs of the kernel: it says so in one
// line, and CoreDNS serves.
func TestLaneCannot(t *testing.T) {
	dir := t.TempDir()
	users(t, dir, "example.com")
	for name := range denials {
		t.Run(name, func(t *testing.T) {
			s := startBinary(t, deniedServer(t, name), "", block("example.com", smimea(dir, "")))
			const says = "No fast lane at"
			waitFor(t, "the warning", func() bool { return strings.Contains(s.log.String(), says) })
			for range 50 {
				for _, q := range []question{{name: "alice._smime.example.com.", qtype: dns.TypeTXT, size: 1232}, {name: hashOwner("alice", "example.com."), qtype: dns.TypeSMIMEA}} {
					if m, _ := ask(t, s.addr, q); len(m.Answer) == 0 {
						t.Fatalf("no answer:\n%v", m)
					}
				}
			}
			if n := strings.Count(s.log.String(), says); n != 1 {
				t.Errorf("%d lines in the log, want one:\n%s", n, s.log)
			}
		})
	}
}

// denials are system calls that a server can be denied.
var denials = map[string][]unix.SockFilter{
	"steering": deny(unix.SYS_SETSOCKOPT, 2, unix.SO_ATTACH_REUSEPORT_CBPF),
	"reading":  deny(unix.SYS_RECVMMSG, 2, 64), // a batch of the lane
}

// deny returns the program that refuses a system call whose argument has a value.
func deny(call, arg, value uint32) []unix.SockFilter {
	const number, args = 0, 16 // in struct seccomp_data, of a machine whose low octets come first
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	end := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	return []unix.SockFilter{
		load(number), unless(call, 3),
		load(args + 8*arg), unless(value, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
		end(unix.SECCOMP_RET_ALLOW),
	}
}

// asDenied is set in the environment of a test program that is to become another one,
// which is denied a system call: a name of denials, and the program.
const asDenied = "SMIMEA_TEST_DENIED"

// deniedServer returns the path of a coredns that is denied a system call.
func deniedServer(t *testing.T, name string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "coredns")
	writeFile(t, script, fmt.Sprintf("#!/bin/sh\n%s='%s %s' exec '%s' \"$@\"\n", asDenied, name, builtServer(t), program))
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	return script
}

// runDenied turns this program into the one that asDenied says. It returns why it cannot.
func runDenied(denied string, args []string) error {
	name, program, _ := strings.Cut(denied, " ")
	filter := denials[name]
	runtime.LockOSThread() // which has the filter, and passes it on
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return err
	}
	return unix.Exec(program, append([]string{program}, args...), os.Environ())
}
