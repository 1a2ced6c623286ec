package table

import (
	"fmt"
	"testing"
)

func TestFill(t *testing.T) {
	for _, n := range []int{0, 1, 17, 5000} {
		for _, guess := range []int{0, n / 3, n, 4 * n} {
			e := Fill(guess, 30*guess)
			want := model{}
			for i := range n {
				key, value := fmt.Sprint("key", i), fmt.Sprint("value", i, i)
				e.Append([]byte(key), []byte(value))
				want[key] = value
			}
			table := e.Table()
			check(t, table, want)
			// It goes on as any other.
			next := table.Edit()
			next.Set([]byte("key3"), []byte("three"))
			next.Delete([]byte("key0"))
			edited := next.Table()
			check(t, table, want)
			want["key3"] = "three"
			delete(want, "key0")
			check(t, edited, want)
		}
	}
	e := Fill(1000, 100_000)
	for i := range 1000 {
		e.Append(fmt.Append(nil, i), make([]byte, 10_000))
	}
	if full := e.Table(); full.Len() != 1000 {
		t.Errorf("%d entries", full.Len())
	}
}
