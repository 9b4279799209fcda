// Everything PostgreSQL's JDBC driver has: simple and server-prepared statements, batches, portals in pieces, COPY,
// large objects, notifications, errors.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.largeobject.LargeObjectManager;

public class WithJdbc {
    static final String SERVER = "jdbc:postgresql://127.0.0.1:" + System.getenv("PORT") + "/";

    interface Work {
        void run() throws Exception;
    }

    static void attempt(Work work) throws Exception {
        try {
            work.run();
            System.out.println("no error");
        } catch (SQLException error) {
            System.out.println(error.getSQLState() + " " + error.getMessage());
        }
    }

    static void print(ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (int column = 1; column <= columns; column++) {
                row.add(rows.getString(column));
            }
            System.out.println(row);
        }
    }

    static void run(Connection db, String sql) throws SQLException {
        try (var statement = db.createStatement()) {
            boolean hasRows = statement.execute(sql);
            while (hasRows || statement.getUpdateCount() >= 0) {
                if (hasRows) {
                    print(statement.getResultSet());
                } else {
                    System.out.println(statement.getUpdateCount());
                }
                hasRows = statement.getMoreResults();
            }
        }
    }

    static void statements(Connection db) throws SQLException {
        run(db, "SELECT 1; UPDATE wire_written SET name = 'x'; SELECT name FROM wire WHERE id = 2");
        // From the fifth execution on it is prepared at the server and sends binary.
        try (var prepared = db.prepareStatement("SELECT * FROM wire WHERE id <= ? ORDER BY id")) {
            for (int most = 1; most < 9; most++) {
                prepared.setInt(1, most);
                print(prepared.executeQuery());
            }
        }
        try (var prepared = db.prepareStatement("SELECT length(?), repeat('z', 100000)")) {
            prepared.setString(1, "y".repeat(2_000_000));
            print(prepared.executeQuery());
        }
    }

    static void transactions(Connection db) throws Exception {
        db.setAutoCommit(false);
        try (var insert = db.prepareStatement("INSERT INTO wire_written VALUES (?, ?)")) {
            for (int id = 1; id <= 400; id++) {
                insert.setInt(1, id);
                insert.setString(2, "n" + id);
                insert.addBatch();
            }
            System.out.println(insert.executeBatch().length);
            Savepoint savepoint = db.setSavepoint("s");
            insert.setInt(1, 1);
            insert.setString(2, "again");
            attempt(insert::executeUpdate);
            attempt(() -> run(db, "SELECT 1"));
            db.rollback(savepoint);
        }
        try (Statement statement = db.createStatement()) {
            statement.setFetchSize(33);
            ResultSet rows = statement.executeQuery("SELECT id FROM wire ORDER BY id");
            int count = 0;
            while (rows.next()) {
                count++;
            }
            System.out.println(count);
        }
        try (Statement statement = db.createStatement()) {
            statement.executeUpdate("INSERT INTO wire_written VALUES (1000, 'key')", Statement.RETURN_GENERATED_KEYS);
            print(statement.getGeneratedKeys());
        }
        db.rollback();
        LargeObjectManager objects = db.unwrap(PGConnection.class).getLargeObjectAPI();
        // A number of our own: the server's would be another in each run.
        run(db, "SELECT lo_create(4711)");
        try (var object = objects.open(4711L, LargeObjectManager.READWRITE)) {
            object.write("a large object".repeat(10_000).getBytes());
            object.seek(140);
            System.out.println(new String(object.read(28)) + " " + object.size());
        }
        db.rollback();
        db.setAutoCommit(true);
    }

    static void copies(Connection db) throws Exception {
        var copies = db.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int id = 0; id < 2_000; id++) {
            rows.append(id).append("\trow ").append(id).append('\n');
        }
        System.out.println(copies.copyIn("COPY wire_written FROM STDIN", new StringReader(rows.toString())));
        StringWriter sink = new StringWriter();
        System.out.println(copies.copyOut("COPY wire_written TO STDOUT", sink) + " " + sink.toString().length());
        attempt(() -> copies.copyIn("COPY wire_written FROM STDIN", new StringReader("x\ty\n")));
        run(db, "TRUNCATE wire_written");
    }

    static void messages(Connection db) throws Exception {
        try (Statement statement = db.createStatement()) {
            statement.execute("DO $$ BEGIN RAISE NOTICE 'look'; END $$");
            System.out.println(statement.getWarnings().getMessage());
        }
        run(db, "LISTEN mail");
        run(db, "NOTIFY mail, 'hello'");
        for (var notification : db.unwrap(PGConnection.class).getNotifications()) {
            System.out.println(notification.getName() + " " + notification.getParameter());
        }
        attempt(() -> run(db, "SELECT nothing FROM wire"));
        attempt(() -> run(db, "SELECT 1 / (id - id) FROM wire"));
        print(db.getMetaData().getColumns(null, "public", "wire", "%"));
        db.setReadOnly(true);
        attempt(() -> run(db, "BEGIN; DELETE FROM wire_written"));
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection db = DriverManager.getConnection(SERVER + "postgres?user=postgres&ApplicationName=wire&sslmode=prefer")) {
            statements(db);
            transactions(db);
            copies(db);
            messages(db);
        }
        attempt(() -> DriverManager.getConnection(SERVER + "postgres?user=nobody").close());
        attempt(() -> DriverManager.getConnection(SERVER + "nothing?user=postgres").close());
    }
}
