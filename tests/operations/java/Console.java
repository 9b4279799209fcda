// The SQL console as programs of the JVM ask it: PostgreSQL's JDBC driver in the extended protocol, with statements
// that it prepares at the server from the fifth time on, in the simple protocol, and what an error says.
// Usage: java -cp postgresql.jar Console.java PORT. The password is in the environment. Prints one line for each answer.

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

public class Console {
    public static void main(String[] arguments) throws SQLException {
        for (String mode : new String[] {"extended", "simple"}) {
            Properties properties = new Properties();
            properties.setProperty("user", "duke");
            properties.setProperty("password", System.getenv("PGPASSWORD"));
            properties.setProperty("sslmode", "disable");
            properties.setProperty("preferQueryMode", mode);
            String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/pgtally";
            try (Connection console = DriverManager.getConnection(url, properties)) {
                System.out.println(mode + " version " + only(console, "SHOW VERSION"));
                System.out.println(mode + " bound " + bound(console));
                System.out.println(mode + " error " + refused(console));
                System.out.println(mode + " after " + only(console, "SHOW VERSION"));
            }
        }
    }

    static String only(Connection console, String command) throws SQLException {
        try (Statement statement = console.createStatement(); ResultSet rows = statement.executeQuery(command)) {
            rows.next();
            return rows.getString(1);
        }
    }

    /** How often a bound pattern found its one number: often enough for a statement that the server keeps. */
    static int bound(Connection console) throws SQLException {
        int found = 0;
        try (PreparedStatement statement = console.prepareStatement("SHOW STATS LIKE ?")) {
            for (int round = 0; round < 8; round++) {
                statement.setString(1, "connections_opened_tot%");
                try (ResultSet rows = statement.executeQuery()) {
                    boolean isOne = rows.next() && rows.getDouble("value") >= 1 && !rows.next();
                    found += isOne ? 1 : 0;
                }
            }
        }
        return found;
    }

    static String refused(Connection console) {
        try {
            return only(console, "SHOW NOTHING");
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }
}
