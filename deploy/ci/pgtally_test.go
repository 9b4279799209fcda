// For pgtally, every test is a request of its own: Go's testing with lib/pq or pgx. Set the package's name to yours.
//
//	db, err := sql.Open("postgres", pgtallyURL(t, os.Getenv("DATABASE_URL")))
//
// PostgreSQL accepts the setting without pgtally, too.

package yours

import (
	"net/url"
	"strings"
	"testing"
)

// pgtallyURL is the database's URL with the test's name among the options that a connection begins with.
func pgtallyURL(t *testing.T, database string) string {
	t.Helper()
	parsed, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	// A comma would end the name; the server parts options at blanks that no backslash precedes.
	name := strings.NewReplacer(",", ";", `\`, `\\`, " ", `\ `).Replace(t.Name())
	query := parsed.Query()
	query.Set("options", "-c pgtally.request=route="+name+",id="+name)
	parsed.RawQuery = query.Encode()
	return parsed.String()
}
