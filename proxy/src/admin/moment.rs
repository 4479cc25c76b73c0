//! Points in time as ODP prints them.

use std::time::{Duration, UNIX_EPOCH};

/// `YYYY-MM-DD HH:MM:SS` in UTC, of seconds since 1970.
pub(super) fn text(seconds: u64) -> String {
    // The formatter refuses years with five digits.
    let seconds = seconds.min(253_402_300_799);
    let moment = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    moment.to_string().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn moments_are_read_by_people() {
        assert_eq!(text(0), "1970-01-01 00:00:00");
        assert_eq!(text(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(text(u64::MAX), "9999-12-31 23:59:59");
    }
}
