package measure

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Samples are the results of one measurement in several rounds.
type Samples []float64

// Median returns the middle one, 0 if there is none.
func (s Samples) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// Worst returns the greatest one.
func (s Samples) Worst() float64 { return slices.Max(s) }

// String returns the median, with the range if there are several.
func (s Samples) String() string {
	if len(s) == 0 {
		return "-"
	}
	if len(s) == 1 {
		return number(s[0])
	}
	return fmt.Sprintf("%s (%s - %s)", number(s.Median()), number(slices.Min(s)), number(slices.Max(s)))
}

// number writes a figure with no more digits than it is worth.
func number(v float64) string {
	switch {
	case v >= 1000:
		text := fmt.Sprintf("%.0f", v)
		for i := len(text) - 3; i > 0; i -= 3 {
			text = text[:i] + "," + text[i:]
		}
		return text
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// A Table is what a benchmark shows: what was measured, against what, and
// whether it is as it must be.
type Table struct {
	title string
	rows  [][5]string
	// Missed are the rows that are not as they must be.
	Missed []string
}

// NewTable returns an empty table.
func NewTable(title string) *Table { return &Table{title: title} }

// Row adds what is only to be known.
func (t *Table) Row(what, value, reference string) {
	t.rows = append(t.rows, [5]string{what, value, reference})
}

// Least adds a ratio that must not be below floor.
func (t *Table) Least(what, value, reference string, ratio, floor float64) {
	t.judge(what, value, reference, ratio, fmt.Sprintf("at least %s", number(floor)), ratio >= floor)
}

// Most adds a figure that must not be above ceiling.
func (t *Table) Most(what, value, reference string, ratio, ceiling float64) {
	t.judge(what, value, reference, ratio, fmt.Sprintf("at most %s", number(ceiling)), ratio <= ceiling)
}

func (t *Table) judge(what, value, reference string, ratio float64, must string, ok bool) {
	verdict := must
	if !ok {
		verdict += " MISSED"
		t.Missed = append(t.Missed, fmt.Sprintf("%s: %s, must be %s", what, number(ratio), must))
	}
	t.rows = append(t.rows, [5]string{what, value, reference, number(ratio), verdict})
}

// Fprint writes the table as Markdown.
func (t *Table) Fprint(w io.Writer) {
	rows := append([][5]string{{"what", "measured", "reference", "ratio", "must be"}}, t.rows...)
	var width [5]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	fmt.Fprintf(w, "\n### %s\n\n", t.title)
	for i, row := range rows {
		for j, cell := range row {
			fmt.Fprintf(w, "| %-*s ", width[j], cell)
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			for j := range row {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width[j]+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
