// PostgreSQL's JDBC driver without a framework: statements that it prepares at the server from the fifth time on,
// batches, fetch sizes, generated keys. The argument names the configuration. Announces its requests as
// python/announce.py does.

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

public class JdbcApp {
    static final Duration SHORT_PAUSE = Duration.ofMillis(20);
    /** More than pgtally's idle gap of 100 ms. */
    static final Duration LONG_PAUSE = Duration.ofMillis(250);
    static final String POSTS = "SELECT id, author_id FROM blog_post ORDER BY id LIMIT 12";

    interface Page {
        void run(Connection db, String tag) throws SQLException;
    }

    /** A page with what must be found: the number of its statements, and the column of an N+1. */
    record Known(String name, int counted, String linked, Page page) {}

    static final List<Known> PAGES = List.of(
        new Known("lazy", 13, "blog_post.author_id", JdbcApp::lazy),
        new Known("lazyAnew", 13, "blog_post.author_id", JdbcApp::lazyAnew),
        new Known("listed", 2, null, JdbcApp::listed),
        new Known("batch", 20, null, JdbcApp::batch),
        new Known("create", 2, null, JdbcApp::create),
        new Known("pieces", 1, null, JdbcApp::pieces),
        new Known("error", 1, null, JdbcApp::error));

    final String mode;
    final Connection marker = connect("MARKER_URL", "pgtally-drivers-marker");
    int number = 0;

    JdbcApp(String mode) throws SQLException {
        this.mode = mode;
    }

    static Connection connect(String variable, String application) throws SQLException {
        URI url = URI.create(System.getenv(variable));
        String jdbc = "jdbc:postgresql://%s:%d%s?user=%s&ApplicationName=%s";
        return DriverManager.getConnection(
            String.format(jdbc, url.getHost(), url.getPort(), url.getPath(), url.getUserInfo(), application));
    }

    static List<Integer> authors(Connection db, String sql) throws SQLException {
        List<Integer> authors = new ArrayList<>();
        try (var statement = db.createStatement(); var rows = statement.executeQuery(sql)) {
            while (rows.next()) {
                authors.add(rows.getInt("author_id"));
            }
        }
        return authors;
    }

    /** 1 + N with one statement object, which becomes a named statement on the way. */
    static void lazy(Connection db, String tag) throws SQLException {
        try (var byId = db.prepareStatement("SELECT name FROM blog_author WHERE id = ?" + tag)) {
            for (int author : authors(db, POSTS + tag)) {
                byId.setInt(1, author);
                byId.executeQuery().close();
            }
        }
    }

    /** 1 + N with a new statement object each time, which the driver's cache makes the same again. */
    static void lazyAnew(Connection db, String tag) throws SQLException {
        for (int author : authors(db, POSTS + " OFFSET 0" + tag)) {
            try (var byId = db.prepareStatement("SELECT id, name FROM blog_author WHERE id = ?" + tag)) {
                byId.setLong(1, author);
                byId.executeQuery().close();
            }
        }
    }

    /** The repaired page. */
    static void listed(Connection db, String tag) throws SQLException {
        try (var byIds = db.prepareStatement("SELECT name FROM blog_author WHERE id = ANY(?)" + tag)) {
            byIds.setArray(1, db.createArrayOf("int", authors(db, POSTS + tag).toArray()));
            byIds.executeQuery().close();
        }
    }

    /** Rows in one round trip. */
    static void batch(Connection db, String tag) throws SQLException {
        try (var insert = db.prepareStatement("INSERT INTO blog_comment (post_id, body) VALUES (?, ?)" + tag)) {
            for (int row = 0; row < 20; row++) {
                insert.setInt(1, 1);
                insert.setString(2, "batch " + row);
                insert.addBatch();
            }
            insert.executeBatch();
        }
    }

    /** A transaction with a key that the server makes. */
    static void create(Connection db, String tag) throws SQLException {
        db.setAutoCommit(false);
        String sql = "INSERT INTO blog_post (author_id, title) VALUES (2, 'new')" + tag;
        try (var insert = db.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            insert.executeUpdate();
            var keys = insert.getGeneratedKeys();
            keys.next();
            try (var update = db.prepareStatement("UPDATE blog_post SET title = 'newer' WHERE id = ?" + tag)) {
                update.setInt(1, keys.getInt("id"));
                update.executeUpdate();
            }
        }
        db.commit();
        db.setAutoCommit(true);
    }

    /** A portal that is read five rows at a time is one statement. */
    static void pieces(Connection db, String tag) throws SQLException {
        db.setAutoCommit(false);
        try (var statement = db.createStatement()) {
            statement.setFetchSize(5);
            var rows = statement.executeQuery("SELECT id FROM blog_comment" + tag);
            while (rows.next()) {
                rows.getString(1);
            }
        }
        db.commit();
        db.setAutoCommit(true);
    }

    /** Fails when run, and when parsed. */
    static void error(Connection db, String tag) throws SQLException {
        for (String sql : List.of("INSERT INTO blog_author (name) VALUES ('author 1')", "SELECT nothing FROM blog_post")) {
            try (var statement = db.createStatement()) {
                statement.execute(sql + tag);
            } catch (SQLException expected) {
                continue;
            }
            throw new IllegalStateException("it should fail: " + sql);
        }
    }

    String trace() {
        return String.format("%032x", 0xABCDEF00L + number);
    }

    void mark(String what) throws SQLException {
        try (var statement = marker.createStatement()) {
            statement.execute(String.format("SELECT '%s %d'", what, number));
        }
    }

    static double now() {
        Instant now = Instant.now();
        return now.getEpochSecond() + now.getNano() / 1e9;
    }

    void request(Connection db, Known known) throws Exception {
        number++;
        boolean isTagged = mode.equals("trace");
        String route = isTagged ? "/" + known.name() : "jdbc-" + mode;
        String tag = isTagged
            ? String.format(" /*route='%%2F%s',traceparent='00-%s-00000000000000ab-01'*/", known.name(), trace())
            : "";
        mark("begin");
        double start = now();
        known.page().run(db, tag);
        double end = now();
        mark("end");
        String expected = isTagged
            ? String.format("\"level\": [\"trace\"], \"key\": \"trace:%s\"", trace())
            // No gap is before the first.
            : String.format("\"level\": [%s], \"needs_gap\": true", number == 1 ? "\"session\"" : "\"idle\", \"transaction\"");
        String linked = known.linked() == null ? "null" : "\"" + known.linked() + "\"";
        String line = String.format(
            "{\"number\": %d, \"page\": \"%s\", \"start\": %.6f, \"end\": %.6f, \"counted\": %d, \"route\": \"%s\", "
                + "\"linked\": %s, %s}%n",
            number, known.name(), start, end, known.counted(), route, linked, expected);
        Files.writeString(
            Path.of(System.getenv("DRIVERS_ANNOUNCE")), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        if (!"0".equals(System.getenv("DRIVERS_PAUSE"))) {
            Thread.sleep((isTagged ? SHORT_PAUSE : LONG_PAUSE).toMillis());
        }
    }

    public static void main(String[] arguments) throws Exception {
        JdbcApp application = new JdbcApp(arguments[0]);
        try (Connection db = connect("DATABASE_URL", "jdbc-" + arguments[0])) {
            for (Known known : PAGES) {
                application.request(db, known);
            }
        }
        application.marker.close();
    }
}
