package table

import (
	"fmt"
	"testing"
)

func TestCompact(t *testing.T) {
	e := (*Table)(nil).Edit()
	want := model{}
	for i := range 10_000 {
		key, value := fmt.Sprint("key", i), fmt.Sprint("value", i)
		e.Set([]byte(key), []byte(value))
		want[key] = value
	}
	before := e.Table()
	table := before.Edit().Compact()
	check(t, table, want)
	first := (*Table)(nil).Edit()
	for key, value := range want {
		first.Set([]byte(key), []byte(value))
	}
	check(t, first.Compact(), want)
	// To edit a page leaves its neighbours as they are.
	next := table.Edit()
	edited := model{}
	for key, value := range want {
		edited[key] = value
		if len(edited)%3 == 0 {
			edited[key] = value + " and more of it"
			next.Set([]byte(key), []byte(edited[key]))
		}
	}
	check(t, next.Table(), edited)
	check(t, table, want)
	check(t, before, want)
	if (*Table)(nil).Edit().Compact().Len() != 0 {
		t.Error("an empty table is not")
	}
}
