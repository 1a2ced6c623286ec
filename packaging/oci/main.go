// Command oci writes a container image with the server and the command, as an OCI image
// layout: one layer, no shell and no user but one. The same programs give the same
// octets. make oci runs it.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// user is whose number the server runs under in the container, and its group's.
const user = 65532

// Media types of the OCI image specification, version 1.1.
const (
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
)

func main() {
	out := flag.String("out", "build/oci", "the `directory` of the layout; what is there goes")
	arch := flag.String("arch", "amd64", "the `architecture` of the programs")
	version := flag.String("version", "", "the `version` to put on the image")
	epoch := flag.Int64("epoch", 0, "the `seconds` since 1970 to put on everything")
	flag.Parse()
	if err := run(*out, *arch, *version, time.Unix(*epoch, 0).UTC(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "oci:", err)
		os.Exit(1)
	}
}

// A descriptor points to a blob of the layout.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A layout is an OCI image layout that is being written.
type layout string

// run writes the layout out with these programs in /usr/bin.
func run(out, arch, version string, created time.Time, programs []string) error {
	if len(programs) == 0 {
		return errors.New("no programs")
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(out, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	l := layout(out)
	files, err := archive(created, programs)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	zip.Write(files) // into memory
	if err := zip.Close(); err != nil {
		return err
	}
	layer, err := l.blob(typeLayer, packed.Bytes())
	if err != nil {
		return err
	}
	config, err := l.object(typeConfig, map[string]any{
		"created":      created,
		"architecture": arch,
		"os":           "linux",
		"config": map[string]any{
			"User":         fmt.Sprintf("%d:%d", user, user),
			"Entrypoint":   []string{"/usr/bin/" + filepath.Base(programs[0])},
			"Cmd":          []string{"-conf", "/etc/coredns-smimea/Corefile"},
			"WorkingDir":   "/var/lib/coredns-smimea",
			"ExposedPorts": map[string]any{"53/tcp": struct{}{}, "53/udp": struct{}{}, "443/tcp": struct{}{}},
			"Volumes":      map[string]any{"/etc/coredns-smimea": struct{}{}, "/var/lib/coredns-smimea": struct{}{}},
			"Labels": map[string]string{
				"org.opencontainers.image.title":    "coredns-smimea",
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digest(files)}},
		"history": []any{map[string]any{"created": created, "created_by": "make oci"}},
	})
	if err != nil {
		return err
	}
	manifest, err := l.object(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{layer},
	})
	if err != nil {
		return err
	}
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": "latest"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "index.json"), index, 0o644); err != nil {
		return err
	}
	fmt.Println(manifest.Digest)
	return os.WriteFile(filepath.Join(out, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// archive returns the tar file of the root: the programs, and what must be there to
// mount on.
func archive(created time.Time, programs []string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, body []byte) error {
		h.ModTime, h.Size, h.Format = created, int64(len(body)), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	for _, dir := range []string{"dev", "etc", "etc/coredns-smimea", "proc", "sys", "tmp", "usr", "usr/bin", "var", "var/lib", "var/lib/coredns-smimea"} {
		h := tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}
		switch dir {
		case "tmp":
			h.Mode = 0o1777
		case "var/lib/coredns-smimea":
			h.Mode, h.Uid, h.Gid = 0o700, user, user
		}
		if err := add(h, nil); err != nil {
			return nil, err
		}
	}
	passwd := fmt.Sprintf("root:x:0:0:root:/:\ncoredns-smimea:x:%d:%d:coredns-smimea:/var/lib/coredns-smimea:\n", user, user)
	if err := add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, []byte(passwd)); err != nil {
		return nil, err
	}
	for _, path := range programs {
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := add(tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/" + filepath.Base(path), Mode: 0o755}, body); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// blob writes a blob.
func (l layout) blob(mediaType string, b []byte) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digest(b), Size: len(b)}
	return d, os.WriteFile(filepath.Join(string(l), "blobs", "sha256", d.Digest[len("sha256:"):]), b, 0o644)
}

// object writes a blob of JSON. Maps are written in the order of their keys.
func (l layout) object(mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, b)
}
