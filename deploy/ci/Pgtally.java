// For pgtally, every test is a request of its own: JUnit 5 with pgjdbc, alone or below a framework.
//
//   @BeforeEach void connect(TestInfo test) { connection = DriverManager.getConnection(Pgtally.url(URL, test)); }
//   @BeforeEach void connect(TestInfo test) { Pgtally.name(connection, test); }     // a connection that outlives it
//
// PostgreSQL accepts the setting without pgtally, too.

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.jupiter.api.TestInfo;

public final class Pgtally {
    private Pgtally() {}

    /** The URL with the test's name among the options that a connection begins with. */
    public static String url(String url, TestInfo test) {
        // The server parts options at blanks that no backslash precedes.
        String option = "-c pgtally.request=" + request(test).replace("\\", "\\\\").replace(" ", "\\ ");
        String value = URLEncoder.encode(option, StandardCharsets.UTF_8).replace("+", "%20");
        return url + (url.contains("?") ? "&" : "?") + "options=" + value;
    }

    /** Names what runs on a connection from here on. */
    public static void name(Connection connection, TestInfo test) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("SET pgtally.request = '" + request(test).replace("'", "''") + "'");
        }
    }

    private static String request(TestInfo test) {
        String place = test.getTestClass().map(Class::getSimpleName).orElse("");
        // A comma would end the name.
        String name = (place + "." + test.getDisplayName()).replace(",", ";");
        return "route=" + name + ",id=" + name;
    }
}
