//! The commands: the first byte of what a client sends, and their names as `SHOW PROCESSLIST` writes them.

/// Declares the commands' bytes and their names, once.
macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident = $byte:literal => $text:literal,)+) => {
        $($(#[$meta])* pub const $name: u8 = $byte;)+

        /// The command's name as `SHOW PROCESSLIST` writes it; `None` for a byte that is no command.
        pub const fn name(byte: u8) -> Option<&'static str> {
            match byte { $($name => Some($text),)+ _ => None }
        }
    };
}

commands! {
    /// `COM_SLEEP`: only a name, refused as a command.
    SLEEP = 0x00 => "Sleep",
    /// `COM_QUIT`.
    QUIT = 0x01 => "Quit",
    /// `COM_INIT_DB`.
    INIT_DB = 0x02 => "Init DB",
    /// `COM_QUERY`.
    QUERY = 0x03 => "Query",
    /// `COM_FIELD_LIST`.
    FIELD_LIST = 0x04 => "Field List",
    /// `COM_CREATE_DB`.
    CREATE_DB = 0x05 => "Create DB",
    /// `COM_DROP_DB`.
    DROP_DB = 0x06 => "Drop DB",
    /// `COM_REFRESH`.
    REFRESH = 0x07 => "Refresh",
    /// `COM_SHUTDOWN`.
    SHUTDOWN = 0x08 => "Shutdown",
    /// `COM_STATISTICS`.
    STATISTICS = 0x09 => "Statistics",
    /// `COM_PROCESS_INFO`.
    PROCESS_INFO = 0x0A => "Processlist",
    /// `COM_CONNECT`: only a name, refused as a command.
    CONNECT = 0x0B => "Connect",
    /// `COM_PROCESS_KILL`.
    PROCESS_KILL = 0x0C => "Kill",
    /// `COM_DEBUG`.
    DEBUG = 0x0D => "Debug",
    /// `COM_PING`.
    PING = 0x0E => "Ping",
    /// `COM_TIME`: only a name, refused as a command.
    TIME = 0x0F => "Time",
    /// `COM_DELAYED_INSERT`: only a name, refused as a command.
    DELAYED_INSERT = 0x10 => "Delayed insert",
    /// `COM_CHANGE_USER`.
    CHANGE_USER = 0x11 => "Change user",
    /// `COM_BINLOG_DUMP`.
    BINLOG_DUMP = 0x12 => "Binlog Dump",
    /// `COM_TABLE_DUMP`.
    TABLE_DUMP = 0x13 => "Table Dump",
    /// `COM_CONNECT_OUT`: only a name, refused as a command.
    CONNECT_OUT = 0x14 => "Connect Out",
    /// `COM_REGISTER_SLAVE`.
    REGISTER_SLAVE = 0x15 => "Register Slave",
    /// `COM_STMT_PREPARE`.
    STMT_PREPARE = 0x16 => "Prepare",
    /// `COM_STMT_EXECUTE`.
    STMT_EXECUTE = 0x17 => "Execute",
    /// `COM_STMT_SEND_LONG_DATA`. Has no answer.
    STMT_SEND_LONG_DATA = 0x18 => "Long Data",
    /// `COM_STMT_CLOSE`. Has no answer.
    STMT_CLOSE = 0x19 => "Close stmt",
    /// `COM_STMT_RESET`.
    STMT_RESET = 0x1A => "Reset stmt",
    /// `COM_SET_OPTION`.
    SET_OPTION = 0x1B => "Set option",
    /// `COM_STMT_FETCH`.
    STMT_FETCH = 0x1C => "Fetch",
    /// `COM_DAEMON`: only a name, refused as a command.
    DAEMON = 0x1D => "Daemon",
    /// `COM_BINLOG_DUMP_GTID` (`MySQL`).
    BINLOG_DUMP_GTID = 0x1E => "Binlog Dump GTID",
    /// `COM_RESET_CONNECTION`.
    RESET_CONNECTION = 0x1F => "Reset Connection",
    /// `COM_CLONE` (`MySQL`).
    CLONE = 0x20 => "Clone",
    /// `COM_SUBSCRIBE_GROUP_REPLICATION_STREAM` (`MySQL`).
    SUBSCRIBE_GROUP_REPLICATION_STREAM = 0x21 => "Group Replication Data Stream subscription",
    /// `COM_STMT_BULK_EXECUTE` (`MariaDB`).
    STMT_BULK_EXECUTE = 0xFA => "Bulk_execute",
    /// `COM_MULTI` (`MariaDB`, before 10.2).
    MULTI = 0xFE => "Multi",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_process_list() {
        assert_eq!(name(QUERY), Some("Query"));
        assert_eq!(name(STMT_PREPARE), Some("Prepare"));
        assert_eq!(name(0x55), None);
    }
}
