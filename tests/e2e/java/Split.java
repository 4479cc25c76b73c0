import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Types;
import java.util.Properties;

/** Reads at a replica, number 2, by statements that MariaDB Connector/J prepares at the server. Arguments: host, port, user, password. */
public final class Client {
    private static final String NODE =
        "SELECT CONCAT(VARIABLE_VALUE, '/', ?) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'SERVER_ID'";

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:mariadb://" + arguments[0] + ":" + arguments[1] + "/?useServerPrepStmts=true";
        Properties login = new Properties();
        login.setProperty("user", arguments[2]);
        login.setProperty("password", arguments[3]);
        for (String options : new String[] {"", "&cachePrepStmts=false", "&useBulkStmts=true", "&useBulkStmts=true&cachePrepStmts=false"}) {
            try (Connection connection = DriverManager.getConnection(url + options, login)) {
                for (int round = 0; round < 3; round++) {
                    statements(connection, round);
                }
            }
        }
        System.out.println("all was right");
    }

    private static void statements(Connection connection, int round) throws Exception {
        try (PreparedStatement read = connection.prepareStatement(NODE);
            PreparedStatement write = connection.prepareStatement("INSERT INTO shop.t (a) VALUES (?)")) {
            for (int number = 0; number < 4; number++) {
                read.setInt(1, number);
                is(read, "2/" + number);
            }
            write.setInt(1, round);
            write.executeUpdate();
            read.setString(1, "text");
            is(read, "2/text");
            read.setNull(1, Types.VARCHAR);
            is(read, null);
            connection.setAutoCommit(false);
            read.setInt(1, 7);
            is(read, "1/7");
            write.executeUpdate();
            is(read, "1/7");
            connection.commit();
            connection.setAutoCommit(true);
            read.setInt(1, 8);
            is(read, "2/8");
            // In bulk, where the driver does that: it names types in a way of its own.
            for (int number = 0; number < 50; number++) {
                write.setInt(1, number);
                write.addBatch();
            }
            write.executeBatch();
            read.setInt(1, 9);
            is(read, "2/9");
            write.setInt(1, 5);
            write.executeUpdate();
        }
    }

    private static void is(PreparedStatement read, String wanted) throws Exception {
        try (ResultSet rows = read.executeQuery()) {
            if (!rows.next()) {
                throw new AssertionError("no row");
            }
            String found = rows.getString(1);
            if (wanted == null ? found != null : !wanted.equals(found)) {
                throw new AssertionError(found + ", not " + wanted);
            }
        }
    }
}
