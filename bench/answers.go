package main

import (
	"fmt"
	"os/exec"
	"time"

	"coredns-smimea/bench/internal/measure"
)

// answers measures names that exist, unsigned and signed.
func (b *bench) answers() (*measure.Table, error) {
	engine, err := b.start("erratic", erratic, anA)
	if err != nil {
		return nil, err
	}
	smimea, err := b.start("smimea", b.dnssec(false)+ours(b.users), certificate)
	if err != nil {
		return nil, err
	}
	plainFile, err := b.start("file", file(b.users.Zone), certificate)
	if err != nil {
		return nil, err
	}
	servers := []*measure.Server{engine, smimea, plainFile}
	defer func() { b.stop(servers...) }()
	if err := smimea.Signed(2*b.users.N, 10*time.Minute); err != nil {
		return nil, err
	}

	c := &contest{bench: b}
	base := c.add("erratic", engine, "a", false)
	certs := c.add("smimea, SMIMEA", smimea, "smimea", false)
	texts := c.add("smimea, TXT", smimea, "txt", false)
	fileCerts := c.add("file, SMIMEA", plainFile, "smimea", false)
	fileTexts := c.add("file, TXT", plainFile, "txt", false)
	signedCerts := c.add("smimea, SMIMEA with DO", smimea, "smimea", true)
	signedTexts := c.add("smimea, TXT with DO", smimea, "txt", true)
	var nsdCerts *entry
	if _, err := exec.LookPath("nsd"); err == nil {
		nsd, err := measure.StartNSD(b.dir, b.users.Zone, certificate, serverPin, 3*time.Minute)
		if err != nil {
			return nil, err
		}
		servers = append(servers, nsd)
		nsdCerts = c.add("NSD, SMIMEA", nsd, "smimea", false)
	}
	if err := c.run(b.rounds); err != nil {
		return nil, err
	}
	b.stop(plainFile)

	early, later, err := b.firstMinute()
	if err != nil {
		return nil, err
	}
	cold, warm, err := b.stockSigned()
	if err != nil {
		return nil, err
	}

	t := measure.NewTable(fmt.Sprintf("%d users: names that exist", b.users.N))
	t.Row("engine (*erratic*, A)", base.String(), "")
	if nsdCerts != nil {
		t.Row("NSD, SMIMEA", nsdCerts.String(), "")
	}
	t.Row("*file*, SMIMEA", fileCerts.String(), "")
	t.Row("*file*, TXT", fileTexts.String(), "")
	t.Row("*file* + *dnssec*, first time asked", cold.String(), "")
	t.Row("*file* + *dnssec*, all in its cache", warm.String(), "")
	t.Least("SMIMEA", certs.String(), certs.against(base, "*erratic*"), certs.over(base), 0.9)
	t.Least("SMIMEA", certs.String(), certs.against(fileCerts, "*file*"), certs.over(fileCerts), 2.5)
	t.Least("TXT", texts.String(), texts.against(base, "*erratic*"), texts.over(base), 0.9)
	t.Least("TXT", texts.String(), texts.against(fileTexts, "*file*"), texts.over(fileTexts), 2.5)
	t.Least("SMIMEA with DO", signedCerts.String(), signedCerts.against(certs, "unsigned"), signedCerts.over(certs), 0.8)
	t.Least("TXT with DO", signedTexts.String(), signedTexts.against(texts, "unsigned"), signedTexts.over(texts), 0.8)
	t.Least("SMIMEA with DO, a minute after start", later.String(), later.against(certs, "unsigned"), later.over(certs), 0.8)
	t.Row("SMIMEA with DO, right after start", early.String(), fmt.Sprintf("%.1f x *file* + *dnssec*, first time", early.over(cold)))
	t.Row("SMIMEA with DO", signedCerts.String(), fmt.Sprintf("%.1f x *file* + *dnssec*, first time; %.1f x its cache", signedCerts.over(cold), signedCerts.over(warm)))
	return t, nil
}

// firstMinute asks a server from its start on: while it signs, and when a minute
// is over.
func (b *bench) firstMinute() (early, later *entry, err error) {
	early, later = &entry{name: "smimea with DO, just started"}, &entry{name: "smimea with DO, a minute later"}
	for range b.rounds {
		s, err := b.start("smimea, for its first minute", b.dnssec(false)+ours(b.users), certificate)
		if err != nil {
			return nil, nil, err
		}
		load := measure.Load{Queries: b.asks["smimea"], DO: true, Time: b.time, Pin: clientPin}
		early.server, early.load, later.server, later.load = s, load, s, load
		if err := b.measure(early); err != nil {
			return nil, nil, err
		}
		load.Time = 5 * b.time // ten seconds each make a minute
		if _, err := load.Run(s); err != nil {
			return nil, nil, err
		}
		if err := b.measure(later); err != nil {
			return nil, nil, err
		}
		b.stop(s)
	}
	return early, later, nil
}

// stockSigned asks *file* with *dnssec*, for names that it has never signed and
// then for those that it has.
func (b *bench) stockSigned() (cold, warm *entry, err error) {
	cold, warm = &entry{name: "file + dnssec, first time asked"}, &entry{name: "file + dnssec, cache warm"}
	for range b.rounds {
		s, err := b.start("file + dnssec", b.dnssec(true)+file(b.users.Zone), certificate)
		if err != nil {
			return nil, nil, err
		}
		once := measure.Load{Queries: b.asks["once"], DO: true, Once: true, Pin: clientPin}
		cold.server, cold.load = s, once
		if err := b.measure(cold); err != nil {
			return nil, nil, err
		}
		warm.server, warm.load = s, measure.Load{Queries: b.asks["smimea"], DO: true, Time: b.time, Pin: clientPin}
		if err := b.measure(warm); err != nil {
			return nil, nil, err
		}
		b.stop(s)
	}
	return cold, warm, nil
}
