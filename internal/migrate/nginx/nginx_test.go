package nginx

import (
	"path/filepath"
	"testing"

	"sluice/internal/migrate/migratetest"
)

// TestConfigurationsAsPeopleRunThem: each testdata/NAME/nginx.conf becomes NAME.want.toml, a configuration without a problem, and
// NAME.skipped.
func TestConfigurationsAsPeopleRunThem(t *testing.T) {
	mains, err := filepath.Glob("testdata/*/nginx.conf")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no testdata/*/nginx.conf: %v", err)
	}
	directory, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, main := range mains {
		name := filepath.Base(filepath.Dir(main))
		t.Run(name, func(t *testing.T) {
			t.Chdir(filepath.Dir(main))
			draft, err := Read([]string{"nginx.conf"})
			if err != nil {
				t.Fatal(err)
			}
			migratetest.Compare(t, draft, filepath.Join(directory, name))
		})
	}
}
