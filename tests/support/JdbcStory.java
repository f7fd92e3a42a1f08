import java.sql.*;
import java.util.Properties;

/** An ordinary program with PostgreSQL's own driver for Java: says what it read, and how a write ended. */
public class JdbcStory {
    public static void main(String[] arguments) throws Exception {
        Properties login = new Properties();
        login.setProperty("user", System.getenv("DB_USER"));
        login.setProperty("password", System.getenv("DB_PASSWORD"));
        try (Connection session = DriverManager.getConnection("jdbc:postgresql://" + System.getenv("DB_PLACE"), login)) {
            try (PreparedStatement asked = session.prepareStatement("SELECT count(*) FROM sales.orders WHERE id > ?")) {
                asked.setInt(1, 2);
                ResultSet found = asked.executeQuery();
                found.next();
                System.out.println("read " + found.getInt(1));
            }
            try (Statement write = session.createStatement()) {
                System.out.println("wrote " + write.executeUpdate("DELETE FROM sales.orders"));
            } catch (SQLException refused) {
                System.out.println("refused " + refused.getSQLState());
            }
        } catch (SQLException refused) {
            System.out.println("no login " + refused.getSQLState());
        }
    }
}
