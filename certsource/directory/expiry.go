package directory

import (
	"container/heap"
	"context"
	"coredns-smimea/certsource"
	"slices"
	"time"
)

// An expiry knows when certificates are to be withdrawn. It counts them by the
// hour; only those of the hour that has begun are in a queue, by the second.
// So a million certificates cost a pass over their records in an hour in which
// some of them end, and nothing in any other.
type expiry struct {
	hours  map[int64]int   // hour -> certificates that end in it
	first  map[int64]int64 // hour -> Unix time before which none of them does
	queued int64           // the last hour that is in the queue
	queue  dueQueue
	next   int64 // the least of first; 0: there is none, or it is to be looked for
}

const secondsPerHour = 3600

func newExpiry() expiry {
	return expiry{hours: map[int64]int{}, first: map[int64]int64{}}
}

// count adds n certificates that end at a time.
func (e *expiry) count(at time.Time, n int) {
	hour := at.Unix() / secondsPerHour
	if e.hours[hour] += n; e.hours[hour] <= 0 {
		if e.first[hour] == e.next {
			e.next = 0
		}
		delete(e.hours, hour)
		delete(e.first, hour)
		return
	}
	if first, ok := e.first[hour]; n > 0 && (!ok || at.Unix() < first) {
		e.first[hour] = at.Unix()
		if e.next != 0 {
			e.next = min(e.next, at.Unix())
		}
	}
}

// soonest returns the Unix time before which none ends, 0 if none ever does.
func (e *expiry) soonest() int64 {
	if e.next == 0 {
		for _, first := range e.first {
			if e.next == 0 || first < e.next {
				e.next = first
			}
		}
	}
	return e.next
}

// watch queues a certificate if it ends in an hour that is queued already.
func (e *expiry) watch(at time.Time, path string) {
	if at.Unix()/secondsPerHour <= e.queued {
		heap.Push(&e.queue, due{at.Unix(), path})
	}
}

// load queues all that end until the hour that has begun is over.
func (e *expiry) load(now time.Time, files Files, margin time.Duration) {
	hour := now.Unix() / secondsPerHour
	ends := false
	for h := range e.hours {
		ends = ends || h > e.queued && h <= hour
	}
	if ends {
		for path, record := range files.table.All() {
			if !recordPublished(record) {
				continue
			}
			for c := range recordCertificates(record) {
				at := c.notAfter.Add(-margin).Unix()
				if h := at / secondsPerHour; !c.ended && h > e.queued && h <= hour {
					e.queue = append(e.queue, due{at, string(path)})
				}
			}
		}
		heap.Init(&e.queue)
	}
	e.queued = max(e.queued, hour)
}

// NextExpiry returns when the next certificate is to be withdrawn, or zero if
// none is. It may be early if files were removed, by an hour at the most.
func (d *Directory) NextExpiry() time.Time {
	if next := d.expiry.soonest(); next != 0 {
		return time.Unix(next, 0)
	}
	return time.Time{}
}

// Expiring returns how many certificates are to be withdrawn until a time,
// rounded up to the hour.
func (d *Directory) Expiring(until time.Time) int {
	n := 0
	for hour, count := range d.expiry.hours {
		if hour <= until.Unix()/secondsPerHour {
			n += count
		}
	}
	return n
}

// Expire makes known which certificates have come to their end. It reads no file.
func (d *Directory) Expire(ctx context.Context, now time.Time, changed func(Change)) {
	if next := d.expiry.soonest(); next == 0 || next > now.Unix() {
		return
	}
	d.expiry.load(now, d.Files(), d.options.Margin)
	for len(d.expiry.queue) > 0 && d.expiry.queue[0].at <= now.Unix() && ctx.Err() == nil {
		path := heap.Pop(&d.expiry.queue).(due).path
		record, ok := d.record(path)
		if !ok {
			continue
		}
		old := decodeFile(record)
		n, ends := old, 0
		n.More = slices.Clone(old.More)
		for _, c := range n.Certificates() {
			if !c.Ended && !c.NotAfter.Add(-d.options.Margin).After(now) {
				c.Ended = true
				ends++
			}
		}
		if !old.Published() || ends == 0 {
			continue // another file by now
		}
		c := Change{Path: path, Old: old, Refusal: certsource.Refuse(certsource.Expired, "or does within the TTL")}
		if old.live() == ends {
			n.Reason, n.Failing = certsource.Expired, ""
		}
		c.New = n
		d.put(c, changed)
	}
	// A lower bound that no certificate stands behind would wake us for ever.
	for hour, first := range d.expiry.first {
		if first <= now.Unix() {
			d.expiry.first[hour] = max(first, d.expiry.queue.earliest(hour, now))
		}
	}
	d.expiry.next = 0
}

type due struct {
	at   int64 // Unix time
	path string
}

// dueQueue is a heap of what ends next.
type dueQueue []due

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *dueQueue) Push(x any)        { *q = append(*q, x.(due)) }
func (q *dueQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// earliest returns the Unix time of the first certificate that ends in an hour
// of the queue after now, or, if there is none, the end of the hour.
func (q dueQueue) earliest(hour int64, now time.Time) int64 {
	at := (hour + 1) * secondsPerHour
	if len(q) > 0 && q[0].at > now.Unix() {
		at = min(at, q[0].at)
	}
	return at
}
