// PostgreSQL's JDBC driver: simple statements, prepared ones that become named after some executions.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

public class CachedJdbc {
    static final String HINT = "/* pgtally:cache ttl=60s tags=product */";
    static final String SERVER = "jdbc:postgresql://127.0.0.1:" + System.getenv("PORT") + "/postgres?user=postgres";

    static void show(ResultSet rows) throws SQLException {
        StringBuilder line = new StringBuilder();
        while (rows.next()) {
            for (int column = 1; column <= rows.getMetaData().getColumnCount(); column += 1) {
                line.append(rows.getString(column)).append(' ');
            }
            line.append("; ");
        }
        System.out.println(line);
    }

    static void reads(Connection db) throws SQLException {
        try (Statement statement = db.createStatement();
                PreparedStatement one = db.prepareStatement("SELECT * FROM cached_product WHERE id = ? " + HINT)) {
            for (int round = 0; round < 8; round += 1) {
                show(statement.executeQuery("SELECT sum(price), min(added) FROM cached_product " + HINT));
                for (int id : new int[] {7, 8, -1}) {
                    one.setInt(1, id);
                    show(one.executeQuery());
                }
            }
        }
    }

    public static void main(String[] arguments) throws SQLException {
        try (Connection db = DriverManager.getConnection(SERVER);
                Connection other = DriverManager.getConnection(SERVER + "&preferQueryMode=simple")) {
            reads(db);
            reads(other);
            db.createStatement().executeUpdate("UPDATE cached_product SET name = 'written' WHERE id = 7");
            reads(db);
            other.setAutoCommit(false);
            other.createStatement().executeUpdate("UPDATE cached_product SET name = 'product 7' WHERE id = 7");
            reads(db);
            other.commit();
            reads(db);
        }
    }
}
