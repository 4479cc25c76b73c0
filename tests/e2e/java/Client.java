import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Properties;
import javax.net.SocketFactory;

/** What an application does through MariaDB Connector/J. Arguments: host, port, user, password, table, and whether available() tells of `all` answers. */
public final class Client {
    private static final int ROWS = 2000;

    private static String url;
    private static String table;
    private static Properties login;

    public static void main(String[] arguments) throws Exception {
        url = "jdbc:mariadb://" + arguments[0] + ":" + arguments[1] + "/";
        table = arguments[4];
        login = new Properties();
        login.setProperty("user", arguments[2]);
        login.setProperty("password", arguments[3]);
        // As text, prepared at the server, and as batches that the driver rewrites, pipelines or sends in bulk.
        for (String options : new String[] {
            "useServerPrepStmts=false",
            "useServerPrepStmts=true",
            "useServerPrepStmts=true&useBulkStmts=true",
            "rewriteBatchedStatements=true",
            "useBatchMultiSend=true&useBulkStmts=false",
        }) {
            try (Connection connection = DriverManager.getConnection(url + "?" + options, login)) {
                for (int round = 0; round < 2; round++) {
                    queries(connection);
                    prepared(connection);
                    batches(connection);
                    transactions(connection);
                    errors(connection);
                }
                bigResults(connection);
            } catch (Exception | AssertionError failure) {
                throw new AssertionError(options, failure);
            }
        }
        available(arguments[5].equals("all"));
        System.out.println("all was right");
    }

    private static void same(Object found, Object wanted, String what) {
        if (!found.equals(wanted)) {
            throw new AssertionError(what + ": " + found + ", not " + wanted);
        }
    }

    private static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            same(rows.next(), true, sql);
            return rows.getString(1);
        }
    }

    private static void queries(Connection connection) throws SQLException {
        for (int number = 0; number < 50; number++) {
            same(one(connection, "SELECT " + number), "" + number, "a number");
        }
        try (Statement statement = connection.createStatement()) {
            statement.execute("SET @v = 'kept'");
        }
        same(one(connection, "SELECT @v"), "kept", "a variable");
        same(one(connection, "SELECT 'plain'"), "plain", "behind it");
    }

    private static void prepared(Connection connection) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT ?, CONCAT(?, '!')")) {
            for (int number = 0; number < 50; number++) {
                String text = "x".repeat(number * 400);
                statement.setInt(1, number);
                statement.setString(2, text);
                try (ResultSet rows = statement.executeQuery()) {
                    same(rows.next(), true, "a row");
                    same(rows.getInt(1), number, "a number");
                    same(rows.getString(2), text + "!", "a text");
                }
            }
        }
    }

    private static void batches(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("DELETE FROM " + table);
            for (int number = 0; number < 100; number++) {
                statement.addBatch("INSERT INTO " + table + " VALUES (" + number + ", 'batch')");
            }
            same(Arrays.stream(statement.executeBatch()).sum(), 100, "rows of a batch");
        }
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO " + table + " VALUES (?, ?)")) {
            for (int number = 100; number < 600; number++) {
                statement.setInt(1, number);
                statement.setString(2, "prepared " + number);
                statement.addBatch();
            }
            same(statement.executeBatch().length, 500, "answers of a prepared batch");
        }
        same(one(connection, "SELECT COUNT(*) FROM " + table), "600", "rows");
        same(one(connection, "SELECT v FROM " + table + " WHERE id = 432"), "prepared 432", "one of them");
        // The third of them is there already.
        try (Statement statement = connection.createStatement()) {
            for (int number : new int[] {1000, 1001, 7, 1002}) {
                statement.addBatch("INSERT INTO " + table + " VALUES (" + number + ", 'late')");
            }
            statement.executeBatch();
            throw new AssertionError("a duplicate was taken");
        } catch (BatchUpdateException failure) {
            same(failure.getErrorCode(), 1062, "a duplicate");
        }
        same(one(connection, "SELECT COUNT(*) > 601 FROM " + table), "1", "rows before the duplicate");
    }

    private static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.executeUpdate("DELETE FROM " + table);
            same(one(connection, "SELECT COUNT(*) FROM " + table), "0", "inside");
            connection.rollback();
            same(one(connection, "SELECT COUNT(*) > 0 FROM " + table), "1", "rolled back");
            connection.commit();
        }
        connection.setAutoCommit(true);
    }

    private static void errors(Connection connection) throws SQLException {
        for (String sql : new String[] {"SELECT no_such_column", "SELEC 1"}) {
            try {
                one(connection, sql);
                throw new AssertionError("no error: " + sql);
            } catch (SQLException failure) {
                same(failure.getErrorCode() == 1054 || failure.getErrorCode() == 1064, true, sql);
            }
        }
        same(one(connection, "SELECT 'alive'"), "alive", "behind an error");
    }

    /** All at once, and a hundred rows at a time as they come. */
    private static void bigResults(Connection connection) throws SQLException {
        String sql = "SELECT seq, REPEAT('r', 10000) FROM mysql.seq_1_to_" + ROWS;
        String wanted = "r".repeat(10000);
        for (int fetch : new int[] {0, 100}) {
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(fetch);
                try (ResultSet rows = statement.executeQuery(sql)) {
                    int count = 0;
                    while (rows.next()) {
                        count++;
                        same(rows.getInt(1), count, "a number");
                        same(rows.getString(2), wanted, "a value");
                    }
                    same(count, ROWS, "rows");
                }
            }
        }
        same(one(connection, "SELECT LENGTH(REPEAT('l', 4000000))"), "4000000", "a length");
        same(one(connection, "SELECT REPEAT('l', 4000000)").length(), 4000000, "a large value");
    }

    /** The driver reads only what available() has told of. Answers that the daemon relays are told of where `all` are. */
    private static void available(boolean all) throws Exception {
        String options = "?socketFactory=" + Told.class.getName();
        try (Connection connection = DriverManager.getConnection(url + options, login)) {
            one(connection, "SELECT @v");
            one(connection, "SELECT 'plain'");
            for (int number = 0; number < 50; number++) {
                Told.reads = 0;
                Told.waits = true;
                same(one(connection, "SELECT " + number), "" + number, "a number");
                same(one(connection, "SELECT REPEAT('a', 30000)").length(), 30000, "a length");
                same(Told.reads > 1, true, "reads that waited");
                Told.waits = all;
                one(connection, "SELECT @v");
                one(connection, "SELECT 'plain'");
                Told.waits = false;
            }
        }
    }

    /** Makes sockets that are read only once available() tells of bytes. */
    public static final class Told extends SocketFactory {
        private static final long DEADLINE_NS = 20_000_000_000L;
        static volatile boolean waits;
        static volatile int reads;

        @Override
        public Socket createSocket() {
            return new Socket() {
                @Override
                public InputStream getInputStream() throws IOException {
                    return new FilterInputStream(super.getInputStream()) {
                        @Override
                        public int read(byte[] bytes, int offset, int length) throws IOException {
                            long start = System.nanoTime();
                            while (waits && in.available() == 0) {
                                if (System.nanoTime() - start > DEADLINE_NS) {
                                    throw new IOException("available() tells of nothing");
                                }
                                Thread.yield();
                            }
                            reads++;
                            return super.read(bytes, offset, length);
                        }
                    };
                }
            };
        }

        @Override
        public Socket createSocket(String host, int port) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(String host, int port, InetAddress near, int nearPort) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(InetAddress host, int port) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Socket createSocket(InetAddress host, int port, InetAddress near, int nearPort) {
            throw new UnsupportedOperationException();
        }
    }
}
