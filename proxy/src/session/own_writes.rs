//! A session that reads its own writes, where its reads go to a replica. What it has written has no number that the proxy sees: responses are spliced.
//! So before the replica is used again behind the writer, the writer is asked how far its binary log has come, and the replica to wait until it
//! has executed as much (`MASTER_GTID_WAIT`, `WAIT_FOR_EXECUTED_GTID_SET`): that holds for whatever the session has done in between.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::rows::Rows;

/// What a session has said of its own writes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Wanted {
    /// Nothing: its cluster's configuration holds.
    #[default]
    AsCluster,
    /// Its reads may be older than its writes.
    No,
    /// They may not: a replica may take this long to have them, then the writer reads.
    Within(Duration),
}

impl Wanted {
    /// How long a read waits; none: it may be older than the session's writes. `cluster`: what the cluster's configuration says.
    pub fn patience(self, cluster: Option<Duration>) -> Option<Duration> {
        match self {
            Self::AsCluster => cluster,
            Self::No => None,
            Self::Within(time) => Some(time),
        }
    }
}

/// How far the writer's binary log has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// What has changed if the session has written: the last GTID of its own in `MariaDB`, all GTIDs in `MySQL`, which tells nobody his own.
    token: Bytes,
    /// The GTIDs that a replica must have.
    position: Bytes,
}

/// Asks the writer for its mark: whether its log has GTIDs of what this session writes, the token, the position.
pub const fn question(is_mariadb: bool) -> &'static str {
    if is_mariadb {
        "SELECT @@GLOBAL.log_bin AND @@SESSION.sql_log_bin, @@SESSION.last_gtid, @@GLOBAL.gtid_binlog_pos"
    } else {
        "SELECT @@GLOBAL.gtid_mode IN ('ON', 'ON_PERMISSIVE') AND @@SESSION.sql_log_bin, '', @@GLOBAL.gtid_executed"
    }
}

impl Mark {
    /// Reads the answer to [`question`]; none where the writer keeps no such log, or what it says cannot be read.
    pub fn of(answer: &Rows, is_mariadb: bool) -> Option<Self> {
        let [Some(is_kept), Some(token), Some(position)] = answer.rows.first()?.as_slice() else {
            return None;
        };
        let is_set = |text: &Bytes| text.iter().all(|&byte| is_of_gtids(byte));
        let is_read = **is_kept == *b"1" && is_set(token) && is_set(position);
        is_read.then(|| Self {
            token: if is_mariadb { token } else { position }.clone(),
            position: position.clone(),
        })
    }
}

/// Whether a byte may stand in a list of GTIDs: nothing that ends a string.
const fn is_of_gtids(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b',' | b'_' | b' ' | b'\n')
}

/// What a replica surely has of what its session has written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OwnWrites {
    /// How long it is waited for; none: not at all.
    patience: Option<Duration>,
    /// Server sessions that took writes and are gone: none of the next one's tokens tells of theirs.
    writers_gone: u32,
    /// `writers_gone` and the token when the replica had everything; at first nothing has been written.
    seen: (u32, Bytes),
    /// The replica was waited for in vain: until it has come that far, it is only asked.
    is_late: bool,
    /// The wish is newer than the replica's turn.
    must_look: bool,
}

impl OwnWrites {
    /// Whether the session reads its own writes.
    pub const fn is_wanted(&self) -> bool {
        self.patience.is_some()
    }

    /// Has the replica waited for this long from now on, or never.
    pub fn want(&mut self, patience: Option<Duration>) {
        // One that takes reads already may lack what was written before.
        self.must_look |= self.patience.is_none() && patience.is_some();
        self.patience = patience;
    }

    /// Whether the writer must be asked before the replica takes another read, though the session has used no other since.
    pub const fn is_to_be_looked_at(&self) -> bool {
        self.must_look
    }

    /// The session uses the writer: it is asked before the replica takes a read.
    pub const fn at_writer(&mut self) {
        self.must_look = false;
    }

    /// Another server session takes the writes, or the same one has forgotten which were its own.
    pub const fn writer_is_new(&mut self) {
        self.writers_gone = self.writers_gone.saturating_add(1);
    }

    /// Another replica takes the reads.
    pub fn reader_is_new(&mut self) {
        self.seen = (0, Bytes::new());
        self.is_late = false;
    }

    /// Whether the replica may lack something of the session's.
    pub fn is_behind(&self, mark: &Mark) -> bool {
        self.is_wanted() && (self.seen.0 != self.writers_gone || self.seen.1 != mark.token)
    }

    /// How long the replica may be waited for now.
    pub fn patience_now(&self) -> Duration {
        self.patience
            .filter(|_| !self.is_late)
            .unwrap_or(Duration::ZERO)
    }

    /// The replica has all up to this mark, or has not come that far in time.
    pub fn waited(&mut self, mark: Mark, has_arrived: bool) {
        self.is_late = !has_arrived;
        if has_arrived {
            self.seen = (self.writers_gone, mark.token);
        }
    }
}

/// The statement that has a replica wait until it has all up to this mark; its answer is for [`has_arrived`].
pub fn wait(mark: &Mark, is_mariadb: bool, patience: Duration) -> String {
    let position = String::from_utf8_lossy(&mark.position);
    if is_mariadb {
        format!(
            "SELECT MASTER_GTID_WAIT('{position}', {}.{:03})",
            patience.as_secs(),
            patience.subsec_millis()
        )
    } else if patience.is_zero() {
        // A timeout of 0 would be none.
        format!("SELECT IF(GTID_SUBSET('{position}', @@GLOBAL.gtid_executed), 0, 1)")
    } else {
        // MySQL 5.7 takes whole seconds.
        let seconds = patience.as_secs() + u64::from(patience.subsec_nanos() > 0);
        format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds})")
    }
}

/// Whether the answer to [`wait`] says that the replica has it all.
pub fn has_arrived(answer: &Rows) -> bool {
    let cell = answer.rows.first().and_then(|row| row.first()?.as_deref());
    cell == Some(b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[Option<&'static str>]) -> Rows {
        let row = cells.iter().map(|cell| cell.map(Bytes::from));
        Rows {
            columns: Vec::new(),
            rows: vec![row.collect()],
        }
    }

    fn mark(token: &'static str) -> Mark {
        Mark::of(&rows(&[Some("1"), Some(token), Some("0-1-9,1-1-3")]), true).unwrap()
    }

    #[test]
    fn what_the_session_says_wins() {
        let second = Duration::from_secs(1);
        assert_eq!(Wanted::AsCluster.patience(Some(second)), Some(second));
        assert_eq!(Wanted::No.patience(Some(second)), None);
        assert_eq!(Wanted::Within(second).patience(None), Some(second));
    }

    #[test]
    fn a_writer_that_keeps_no_log_has_no_mark() {
        for cells in [
            &[Some("0"), Some(""), Some("0-1-9")][..],
            &[None, Some(""), Some("0-1-9")],
            &[Some("1"), None, Some("0-1-9")],
            &[Some("1"), Some("0-1-9")],
            &[Some("1"), Some("0-1-9"), Some("0-1-9', 1); DROP")],
            &[],
        ] {
            assert_eq!(Mark::of(&rows(cells), true), None, "{cells:?}");
        }
        assert_eq!(Mark::of(&Rows::default(), true), None);
        let all = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:tag_1:1";
        let mark = Mark::of(&rows(&[Some("1"), Some(""), Some(all)]), false).unwrap();
        assert_eq!(
            (&*mark.token, &*mark.position),
            (all.as_bytes(), all.as_bytes())
        );
    }

    #[test]
    fn a_replica_is_waited_for_where_the_session_may_have_written() {
        let mut own = OwnWrites::default();
        assert!(!own.is_behind(&mark("0-1-9")), "not wanted");
        own.want(Some(Duration::from_secs(2)));
        assert!(own.is_to_be_looked_at());
        own.at_writer();
        own.want(Some(Duration::from_secs(1)));
        assert!(!own.is_to_be_looked_at());
        assert!(!own.is_behind(&mark("")), "nothing written");
        assert!(own.is_behind(&mark("0-1-9")));
        own.waited(mark("0-1-9"), true);
        assert!(!own.is_behind(&mark("0-1-9")));
        assert!(own.is_behind(&mark("1-1-3")));
        // Another replica may lack what this one has.
        own.reader_is_new();
        assert!(own.is_behind(&mark("0-1-9")));
        own.waited(mark("0-1-9"), true);
        // Of what an earlier server session has written nobody is told.
        own.writer_is_new();
        assert!(own.is_behind(&mark("")));
        own.reader_is_new();
        assert!(own.is_behind(&mark("")));
        own.waited(mark(""), true);
        assert!(!own.is_behind(&mark("")));
    }

    #[test]
    fn one_that_was_waited_for_in_vain_is_only_asked() {
        let mut own = OwnWrites::default();
        let time = Duration::from_millis(1_500);
        own.want(Some(time));
        assert_eq!(own.patience_now(), time);
        own.waited(mark("0-1-9"), false);
        assert_eq!(own.patience_now(), Duration::ZERO);
        assert!(own.is_behind(&mark("0-1-9")));
        own.waited(mark("0-1-9"), true);
        assert_eq!(own.patience_now(), time);
    }

    #[test]
    fn each_server_waits_in_its_own_words() {
        let mark = mark("0-1-9");
        let time = Duration::from_millis(1_500);
        assert_eq!(
            wait(&mark, true, time),
            "SELECT MASTER_GTID_WAIT('0-1-9,1-1-3', 1.500)"
        );
        assert_eq!(
            wait(&mark, true, Duration::ZERO),
            "SELECT MASTER_GTID_WAIT('0-1-9,1-1-3', 0.000)"
        );
        assert_eq!(
            wait(&mark, false, time),
            "SELECT WAIT_FOR_EXECUTED_GTID_SET('0-1-9,1-1-3', 2)"
        );
        assert_eq!(
            wait(&mark, false, Duration::ZERO),
            "SELECT IF(GTID_SUBSET('0-1-9,1-1-3', @@GLOBAL.gtid_executed), 0, 1)"
        );
        assert!(has_arrived(&rows(&[Some("0")])));
        for late in [Some("-1"), Some("1"), None] {
            assert!(!has_arrived(&rows(&[late])));
        }
    }
}
