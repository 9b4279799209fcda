// The same list with and without a list of keys.

package yours

import (
	"database/sql"
	"os"
	"testing"

	"github.com/lib/pq"
)

func open(t *testing.T) *sql.DB {
	db, err := sql.Open("postgres", pgtallyURL(t, os.Getenv("DATABASE_URL")+"?sslmode=disable"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func authors(t *testing.T, db *sql.DB) (ids []int64) {
	rows, err := db.Query("SELECT author_id FROM posts ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestBlog(t *testing.T) {
	t.Run("one by one", func(t *testing.T) {
		t.Parallel()
		db := open(t)
		for _, id := range authors(t, db) {
			var name string
			if err := db.QueryRow("SELECT name FROM authors WHERE id = $1", id).Scan(&name); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		db := open(t)
		rows, err := db.Query("SELECT name FROM authors WHERE id = ANY($1)", pq.Array(authors(t, db)))
		if err != nil {
			t.Fatal(err)
		}
		rows.Close()
	})
}
