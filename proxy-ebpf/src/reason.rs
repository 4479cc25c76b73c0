//! Closed sets of reasons that users see in `SHOW`, in logs and in metrics. Each has one table of texts.

/// Declares a closed set: an enum over `u32` (the form that map records hold) and its texts.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$vmeta])* $variant = $value,)+ }

        impl $name {
            /// Every member, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text that users see.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The member with this number, as map records hold it.
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// Why the kernel handed a command up to the daemon.
    TrapReason {
        /// A command that changes session state or that only the daemon may answer (SET, USE, SHOW, `COM_CHANGE_USER`, …).
        Command = 1 => "command",
        /// A statement whose verb is not on the list of spliceable ones.
        Verb = 2 => "statement verb",
        /// A user or system variable (`@`) in the text.
        Variable = 3 => "variable",
        /// More text after a `;`.
        MultiStatement = 4 => "multiple statements",
        /// An executable comment (`/*!`, `/*M!`).
        ExecutableComment = 5 => "executable comment",
        /// INTO: a file or variables.
        Into = 6 => "INTO",
        /// A function that the daemon answers or must see (`PROXY_VERSION`, `GET_LOCK`, …).
        Function = 7 => "function",
        /// A backslash before a quote: its meaning depends on `sql_mode` and character set.
        Backslash = 8 => "backslash before a quote",
        /// Text that ends inside a string, an identifier or a comment.
        Unterminated = 9 => "unterminated text",
        /// More text than the program scans.
        TooLong = 10 => "longer than the scan limit",
        /// A prepared statement that the daemon did not class as spliceable.
        UnknownStatement = 11 => "unknown prepared statement",
        /// The message holds no whole packet, or behind one that may be spliced another that may not stand there.
        Framing = 12 => "not one whole packet",
        /// A command sent before the previous one's response was complete.
        Pipelined = 13 => "pipelined",
        /// The reader is slow: more bytes outstanding than the limit.
        Outstanding = 14 => "slow reader",
        /// The other end's socket is gone.
        PeerGone = 15 => "peer gone",
        /// A byte or comment that servers, character sets or modes read differently (`{`, `$$`, control bytes, `--` before a line end).
        Unclear = 16 => "unclear byte",
        /// On the wire: a segment before this one is missing, and the local socket's TCP has it sent again.
        Gap = 17 => "missing segment",
        /// On the wire: more bytes in one segment than the path to the other peer carries.
        Segment = 18 => "larger than a segment",
        /// The session reads from one node and writes to another, and this statement is the other one's.
        OtherNode = 19 => "for the other node",
    }
}

reasons! {
    /// What the kernel waits for before it begins to splice a session that it was offered.
    WaitReason {
        /// Nothing but the command: it may begin at once.
        Command = 1 => "the client's next command",
        /// On the wire: what was relayed is still on its way to the node.
        ToNode = 2 => "acknowledgement by the node",
        /// On the wire: the client has not been told yet that its last command has arrived.
        ToClient = 3 => "acknowledgement to the client",
        /// On the wire: what the daemon has read and written is not what the programs have seen.
        Daemon = 4 => "bytes under way through the daemon",
        /// On the wire: a connection is closing.
        Closing = 5 => "nothing: a connection closes",
        /// On the wire: the way to a peer leads over an interface on which the programs are not.
        Way = 6 => "a way over covered interfaces",
    }
}

reasons! {
    /// Why a session's bytes move through the daemon instead of the kernel.
    RelayReason {
        /// `--splice off`.
        Off = 1 => "splice off",
        /// The host cannot splice at all; the daemon's start-up log says what is missing.
        Unavailable = 2 => "not available on this host",
        /// The client is not on this host.
        ClientRemote = 3 => "client is remote",
        /// The node is not on this host.
        NodeRemote = 4 => "node is remote",
        /// TLS on a leg.
        Tls = 5 => "TLS",
        /// Compression on a leg.
        Compression = 6 => "compression",
        /// The session's character set is not ASCII-safe (gbk, gb18030, big5, sjis).
        Charset = 7 => "character set",
        /// A replication stream: it has no command boundaries.
        Replication = 8 => "replication stream",
        /// No free record: more sessions than the maps were made for.
        NoRecord = 9 => "no free record",
        /// Not logged in yet.
        Login = 10 => "login",
        /// A session of the proxy's own: there is no node.
        OwnSession = 11 => "session of the proxy itself",
        /// No program of ours stands on an interface of the session's.
        Interface = 12 => "interface not covered",
        /// IPv4 on one side, IPv6 on the other.
        Families = 13 => "address families differ",
        /// The configuration's `path` leaves no way for this session.
        NotChosen = 14 => "path not allowed",
        /// An IPv4 packet that is put back into lo would be dropped there, and an end is on this host.
        Loopback = 15 => "net.ipv4.conf.lo.route_localnet or accept_local is 0",
        /// An end is remote, and the wire's programs did not load or failed the self-test; the daemon's start-up log says why.
        NoWire = 16 => "wire not available on this host",
        /// An end is remote, or the configuration wants the wire; when the daemon started it could not have been, so the wire is not ready.
        WireNotReady = 17 => "wire not ready until a restart",
    }
}
