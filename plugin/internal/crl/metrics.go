package crl

import "coredns-smimea/plugin/internal/metric"

var (
	nextUpdate = metric.Gauge("crl_next_update_timestamp_seconds",
		"When a certificate revocation list is to be replaced by a newer one, as it says itself.",
		"list")
	usable = metric.Gauge("crl_usable",
		"1 if a certificate revocation list could be had the last time, and counts, 0 if not.",
		"list")
	failures = metric.Counter("crl_failures_total",
		"Times that a certificate revocation list could not be got, or did not count.",
		"list")
)
