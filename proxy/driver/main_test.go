package driver

import (
	"flag"
	"os"
	"testing"
)

// atOnce is how many tests run at the same time, unless -parallel says so: most of their time is a wait.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	isGiven := false
	flag.Visit(func(f *flag.Flag) { isGiven = isGiven || f.Name == "test.parallel" })
	if !isGiven {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	os.Exit(m.Run())
}
