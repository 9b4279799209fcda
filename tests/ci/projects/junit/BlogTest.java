// The same list with and without a list of keys: on a connection of its own, and on one that outlives its tests.

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInfo;

class BlogTest {
    private static final String URL = System.getenv("JDBC_DATABASE_URL");
    private static Connection kept;

    @BeforeAll
    static void open() throws SQLException {
        kept = DriverManager.getConnection(URL);
    }

    @AfterAll
    static void close() throws SQLException {
        kept.close();
    }

    private static List<Integer> authors(Connection connection) throws SQLException {
        List<Integer> ids = new ArrayList<>();
        try (ResultSet rows = connection.createStatement().executeQuery("SELECT author_id FROM posts ORDER BY id")) {
            while (rows.next()) {
                ids.add(rows.getInt(1));
            }
        }
        return ids;
    }

    @Test
    void oneByOne(TestInfo test) throws SQLException {
        try (Connection connection = DriverManager.getConnection(Pgtally.url(URL, test))) {
            for (int id : authors(connection)) {
                PreparedStatement statement = connection.prepareStatement("SELECT name FROM authors WHERE id = ?");
                statement.setInt(1, id);
                assertTrue(statement.executeQuery().next());
            }
        }
    }

    @Test
    @DisplayName("at once, it's better")
    void atOnce(TestInfo test) throws SQLException {
        Pgtally.name(kept, test);
        PreparedStatement statement = kept.prepareStatement("SELECT name FROM authors WHERE id = ANY(?)");
        statement.setArray(1, kept.createArrayOf("int4", authors(kept).toArray()));
        assertTrue(statement.executeQuery().next());
    }
}
