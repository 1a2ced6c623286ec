// Command https measures the certificate host against nginx: the same files,
// over TLS, in the same run.
//
//	go run ./bench/https [-rounds 3] [-seconds 5] [-users 1000] [-only LOAD] [-profile FILE]
//
// It makes users' certificates as PEM files, the same in DER as nginx's static
// files, and one TLS certificate (ECDSA P-256) for both servers. Both are pinned
// to one processor and the load generator to the other (taskset); rounds
// alternate between the servers, and of each figure the median is printed, with
// the ratio ours / nginx. What counts is requests per second of processor time
// that the server used: other work on the machine, and what the load generator
// cannot take, leave it alone. Three loads:
//
//	keep-alive  wrk, HTTP/1.1, 64 connections, random files
//	http/2      h2load, 16 connections of 16 streams, all files in turn
//	handshake   wrk, HTTP/1.1, a new TLS connection for each request
//
// nginx runs twice: as packaged (each request opens the file), and with
// open_file_cache. Ours is the package's test binary serving from the PEM files.
// Needed: nginx, wrk, h2load (nghttp2-client), taskset.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	rounds  = flag.Int("rounds", 3, "rounds; the median counts")
	seconds = flag.Int("seconds", 5, "length of each measurement")
	users   = flag.Int("users", 1000, "how many certificates")
	profile = flag.String("profile", "", "file for a profile of our server")
	only    = flag.String("only", "", "one load only")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// A server under measurement.
type server struct {
	name, addr string
	pid        int
	figures    map[string][]float64
}

func run() error {
	dir, err := os.MkdirTemp("", "bench-https")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers are nobody
		return err
	}
	names, err := makeFiles(dir)
	if err != nil {
		return fmt.Errorf("making files: %w", err)
	}
	var servers []*server
	ours, stop, err := startOurs(dir)
	if err != nil {
		return fmt.Errorf("starting ours: %w", err)
	}
	defer stop()
	servers = append(servers, ours)
	for name, options := range map[string]string{"nginx": "", "nginx+cache": "open_file_cache max=100000 inactive=1h; open_file_cache_valid 1h;"} {
		s, stop, err := startNginx(dir, name, options)
		if err != nil {
			return fmt.Errorf("starting %s: %w", name, err)
		}
		defer stop()
		servers = append(servers, s)
	}
	slices.SortFunc(servers, func(a, b *server) int { return -strings.Compare(a.name, b.name) })

	chosen := slices.DeleteFunc(loads(dir, names), func(l load) bool { return *only != "" && l.name != *only })
	for _, load := range chosen {
		for round := range *rounds {
			for _, s := range servers {
				used := processorTime(s.pid)
				requests, wall, err := load.measure(s.addr)
				used = processorTime(s.pid) - used
				if err != nil {
					return fmt.Errorf("%s, %s: %w", load.name, s.name, err)
				}
				if s.figures == nil {
					s.figures = map[string][]float64{}
				}
				rate := requests / used.Seconds()
				s.figures[load.name] = append(s.figures[load.name], rate)
				log.Printf("round %d  %-10s  %-11s  %8.0f requests per second of processor time, %8.0f per second", round+1, load.name, s.name, rate, requests/wall.Seconds())
			}
		}
	}
	fmt.Printf("\n%-12s", "median")
	for _, s := range servers {
		fmt.Printf("%14s", s.name)
	}
	fmt.Println("   ours/nginx  ours/nginx+cache")
	for _, load := range chosen {
		fmt.Printf("%-12s", load.name)
		medians := map[string]float64{}
		for _, s := range servers {
			medians[s.name] = median(s.figures[load.name])
			fmt.Printf("%14.0f", medians[s.name])
		}
		fmt.Printf("%13.2f%18.2f\n", medians["ours"]/medians["nginx"], medians["ours"]/medians["nginx+cache"])
	}
	return nil
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// makeFiles writes files/NAME.crt in PEM, static/.well-known/smime/NAME.crt in
// DER, and tls.crt and tls.key.
func makeFiles(dir string) (names []string, err error) {
	static := filepath.Join(dir, "static", ".well-known", "smime")
	for _, d := range []string{filepath.Join(dir, "files"), static} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	for i := range *users {
		name := fmt.Sprintf("user%06d.crt", i)
		der, err := certificate(key, x509.Certificate{EmailAddresses: []string{fmt.Sprintf("user%06d@localhost", i)}})
		if err != nil {
			return nil, err
		}
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, "files", name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(static, name), der, 0o644); err != nil {
			return nil, err
		}
	}
	der, err := certificate(key, x509.Certificate{DNSNames: []string{"localhost"}})
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	return names, os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
}

func certificate(key *ecdsa.PrivateKey, template x509.Certificate) ([]byte, error) {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "bench"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	return x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
}

// pinned runs a command on one processor.
func pinned(cpu int, name string, args ...string) *exec.Cmd {
	command := exec.Command("taskset", append([]string{"-c", strconv.Itoa(cpu), name}, args...)...)
	command.Stderr = os.Stderr
	return command
}

const serverCPU, loadCPU = 0, 1

// processorTime is what a process has used, user and system.
func processorTime(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		log.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), ") ") // fields from the third on
	fields := strings.Fields(after)
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			log.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 everywhere
}

func startOurs(dir string) (s *server, stop func(), err error) {
	binary := filepath.Join(dir, "certhost.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "coredns-smimea/plugin/internal/certhost")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, nil, err
	}
	args := []string{"-test.run=^TestBenchServer$", "-test.timeout=0"}
	if *profile != "" {
		args = append(args, "-test.cpuprofile="+*profile)
	}
	command := pinned(serverCPU, binary, args...)
	command.Env = append(os.Environ(), "CERTHOST_BENCH="+dir)
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, nil, err
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		return nil, nil, fmt.Errorf("it said %q", line)
	}
	return &server{name: "ours", addr: addr, pid: command.Process.Pid}, func() { stdin.Close(); command.Wait() }, nil
}

func startNginx(dir, name, options string) (s *server, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, name+".conf")
	text := fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/%[2]s.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[1]s/%[2]s.body; proxy_temp_path %[1]s/%[2]s.proxy; fastcgi_temp_path %[1]s/%[2]s.fastcgi;
	uwsgi_temp_path %[1]s/%[2]s.uwsgi; scgi_temp_path %[1]s/%[2]s.scgi;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	types { application/pkix-cert crt; }
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_session_cache none;
	%[4]s
	server {
		listen %[3]s ssl http2 backlog=4096;
		server_name localhost;
		ssl_certificate %[1]s/tls.crt;
		ssl_certificate_key %[1]s/tls.key;
		root %[1]s/static;
		add_header Access-Control-Allow-Origin *;
		add_header X-Content-Type-Options nosniff;
		expires 1h;
	}
}
`, dir, name, addr, options)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, nil, err
	}
	command := pinned(serverCPU, "nginx", "-c", config, "-p", dir)
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(deadline) {
			return nil, nil, err
		}
	}
	return &server{name: name, addr: addr, pid: command.Process.Pid}, func() { command.Process.Signal(syscall.SIGTERM); command.Wait() }, nil
}

// A load asks one server for the files for a while and tells how many requests
// were answered.
type load struct {
	name    string
	measure func(addr string) (requests float64, wall time.Duration, err error)
}

const root = "/.well-known/smime/"

func loads(dir string, names []string) []load {
	script := func(name, header string) string {
		file := filepath.Join(dir, name)
		text := fmt.Sprintf(`request = function()
	return wrk.format("GET", string.format(%q, math.random(0, %d)), {["Host"] = "localhost"%s})
end
`, root+"user%06d.crt", len(names)-1, header)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			log.Fatal(err)
		}
		return file
	}
	wrk := func(script string, connections int) func(addr string) (float64, time.Duration, error) {
		return func(addr string) (float64, time.Duration, error) {
			begin := time.Now()
			out, err := pinned(loadCPU, "wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(*seconds)+"s", "-s", script, "https://"+addr).Output()
			return count(out, err, begin, `([0-9]+) requests in`, `Non-2xx`)
		}
	}
	h2load := func(addr string) (float64, time.Duration, error) {
		uris := filepath.Join(dir, "uris")
		var text strings.Builder
		for _, name := range names {
			fmt.Fprintf(&text, "https://%s%s%s\n", addr, root, name)
		}
		if err := os.WriteFile(uris, []byte(text.String()), 0o600); err != nil {
			return 0, 0, err
		}
		begin := time.Now()
		out, err := pinned(loadCPU, "h2load", "-t1", "-c16", "-m16", "-D"+strconv.Itoa(*seconds), "-H", ":authority: localhost", "-i", uris).Output()
		return count(out, err, begin, `requests: [0-9]+ total, [0-9]+ started, [0-9]+ done, ([0-9]+) succeeded`, ` [1-9][0-9]* (4xx|5xx)`)
	}
	return []load{
		{"keep-alive", wrk(script("keepalive.lua", ""), 64)},
		{"http/2", h2load},
		{"handshake", wrk(script("close.lua", `, ["Connection"] = "close"`), 32)},
	}
}

func count(out []byte, err error, begin time.Time, figure, failure string) (float64, time.Duration, error) {
	wall := time.Since(begin)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, out)
	}
	if regexp.MustCompile(failure).Match(out) {
		return 0, 0, fmt.Errorf("requests failed: %s", out)
	}
	m := regexp.MustCompile(figure).FindSubmatch(out)
	if m == nil {
		return 0, 0, fmt.Errorf("no count in %s", out)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	return n, wall, err
}
