package main

import (
	"errors"
	"time"

	"coredns-smimea/discover"
)

// lookupJSON is what -json prints.
type lookupJSON struct {
	Schema       string            `json:"schema"` // smimea-lookup/1
	Address      string            `json:"address"`
	Verdict      string            `json:"verdict"`
	Code         string            `json:"code"`
	Why          string            `json:"why"`
	Exit         int               `json:"exit"`
	Certificates []certificateJSON `json:"certificates"`
	SMIMEA       lookedUpJSON      `json:"smimea"`
	TXT          lookedUpJSON      `json:"txt"`
	Downloads    []downloadJSON    `json:"downloads"`
	Expires      *time.Time        `json:"expires,omitempty"`
	Suggestion   string            `json:"suggestion,omitempty"`
}

type certificateJSON struct {
	PEM         string    `json:"pem"`
	Source      string    `json:"source"`
	Addresses   []string  `json:"addresses"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Encrypts    bool      `json:"encrypts"`
	Signs       bool      `json:"signs"`
	Match       string    `json:"match,omitempty"`
	Association string    `json:"association,omitempty"`
	Problems    []string  `json:"problems"`
	Codes       []string  `json:"codes"`   // of the problems, in their order
	Issuers     []string  `json:"issuers"` // PEM, the nearest first
	Untrusted   string    `json:"chain,omitempty"`
	Revocation  string    `json:"revocation,omitempty"`
}

type lookedUpJSON struct {
	Name     string   `json:"name,omitempty"`
	Security string   `json:"security"`
	Code     string   `json:"code,omitempty"`
	Error    string   `json:"error,omitempty"`
	Records  []string `json:"records"`
	Aliases  []string `json:"aliases,omitempty"`
}

type downloadJSON struct {
	URL       string   `json:"url"`
	MediaType string   `json:"media_type,omitempty"`
	Moved     []string `json:"moved,omitempty"`
	Code      string   `json:"code,omitempty"`
	Error     string   `json:"error,omitempty"`
}

func lookupResult(r *discover.Result, status int) lookupJSON {
	result := lookupJSON{
		Schema: "smimea-lookup/1", Address: r.Address.String(), Verdict: string(r.Verdict), Code: string(r.Why.Code), Why: r.Why.Text, Exit: status,
		Certificates: []certificateJSON{}, SMIMEA: lookedUp(r.SMIMEA), TXT: lookedUp(r.TXT), Downloads: []downloadJSON{},
		Suggestion: r.Suggestion,
	}
	if !r.Expires.IsZero() {
		result.Expires = &r.Expires
	}
	for _, c := range r.Certificates {
		result.Certificates = append(result.Certificates, certificateJSON{
			PEM: string(pemOf(c.Raw)), Source: c.Source, Addresses: orEmpty(c.Addresses), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			Encrypts: c.Encrypts, Signs: c.Signs, Match: string(c.Match), Association: c.Association,
			Problems: []string{}, Codes: []string{}, Issuers: []string{}, Untrusted: c.Untrusted, Revocation: c.Revocation,
		})
		line := &result.Certificates[len(result.Certificates)-1]
		for _, der := range c.Chain {
			line.Issuers = append(line.Issuers, string(pemOf(der)))
		}
		for _, p := range c.Problems {
			line.Problems, line.Codes = append(line.Problems, p.Text), append(line.Codes, string(p.Code))
		}
	}
	for _, d := range r.Downloads {
		result.Downloads = append(result.Downloads, downloadJSON{d.URL, d.MediaType, d.Moved, errorCode(d.Err), errorText(d.Err)})
	}
	return result
}

func lookedUp(r discover.Records) lookedUpJSON {
	return lookedUpJSON{r.Name, r.Security.String(), errorCode(r.Err), errorText(r.Err), orEmpty(r.Data), r.Aliases}
}

// errorCode is the code of an error that discover gave one.
func errorCode(err error) string {
	var p discover.Problem
	errors.As(err, &p)
	return string(p.Code)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// orEmpty makes an empty list [] in JSON, not null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
