//! How much memory the daemons of a run have held, each from its start to its end.

use std::{
    fmt,
    time::{Duration, Instant},
};

const MINUTE: Duration = Duration::from_mins(1);
/// In these minutes of its life a daemon comes to hold what it needs.
const SETTLING: std::ops::Range<usize> = 1..4;
/// Of so many minutes at the end at least one must be as it was then.
const LAST: usize = 2;
/// The most that what a daemon holds may have grown by at the end, in bytes. At thirty sessions a second, half an hour of them has 150 bytes for
/// each: whoever forgets something in every session is found.
pub const GROWTH_MAX: u64 = 8 << 20;

/// One daemon's.
#[derive(Debug)]
struct Life {
    pid: u32,
    start: Instant,
    /// Resident bytes when it was seen first and last.
    first: u64,
    last: u64,
    age: Duration,
    /// For each minute the fewest resident bytes: what is held for good, not what a large answer needs for a moment.
    floors: Vec<u64>,
}

/// All daemons'.
#[derive(Debug, Default)]
pub struct Lives(Vec<Life>);

/// What has become of the memory of a daemon that lived long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Resident bytes once it had settled.
    pub settled: u64,
    /// The same at its end.
    pub end: u64,
}

impl Lives {
    /// The daemon of this process id holds so many bytes.
    pub fn note(&mut self, pid: u32, now: Instant, resident: u64) {
        if self.0.last().is_none_or(|life| life.pid != pid) {
            self.0.push(Life {
                pid,
                start: now,
                first: resident,
                last: resident,
                age: Duration::ZERO,
                floors: Vec::new(),
            });
        }
        let Some(life) = self.0.last_mut() else {
            return;
        };
        life.last = resident;
        life.age = now.saturating_duration_since(life.start);
        let minute = usize::try_from(life.age.as_secs() / MINUTE.as_secs()).unwrap_or(usize::MAX);
        match life.floors.get_mut(minute) {
            Some(floor) => *floor = resident.min(*floor),
            // A minute in which the daemon was not looked at was like the next.
            None => life.floors.resize(minute + 1, resident),
        }
    }

    /// Of the daemon that lived longest; `None` if that was too short to tell.
    pub fn course(&self) -> Option<Course> {
        let longest = self.0.iter().max_by_key(|life| life.age)?;
        // The last minute has only begun.
        let (_, floors) = longest.floors.split_last()?;
        let settled = floors.get(SETTLING)?.iter().max()?;
        let later = floors.get(SETTLING.end..)?;
        let last = later.get(later.len().checked_sub(LAST)?..)?;
        Some(Course {
            settled: *settled,
            end: *last.iter().min()?,
        })
    }
}

impl fmt::Display for Lives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bytes: u64| bytes / 100_000;
        for (at, life) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            let [first, last] = [life.first, life.last].map(mega);
            write!(
                f,
                "{comma}{} s {}.{}-{}.{} MB",
                life.age.as_secs(),
                first / 10,
                first % 10,
                last / 10,
                last % 10
            )?;
        }
        match self.course() {
            Some(Course { settled, end }) => write!(
                f,
                "; the longest: {} kB when it had settled, {} kB at its end",
                settled / 1000,
                end / 1000
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(seconds: u64, resident: impl Fn(u64) -> u64) -> Lives {
        let start = Instant::now();
        let mut lives = Lives::default();
        lives.note(1, start, 5);
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            lives.note(2, now, resident(second));
        }
        lives
    }

    #[test]
    fn what_stays_is_told_from_what_comes_and_goes() {
        let waves = lives(600, |second| 1000 + second % 50 * 100);
        let course = waves.course().unwrap();
        assert_eq!((course.settled, course.end), (1000, 1000));
        let growing = lives(600, |second| 1000 + second % 50 * 100 + second);
        let course = growing.course().unwrap();
        assert!((1180..1240).contains(&course.settled), "{course:?}");
        assert!((1420..1500).contains(&course.end), "{course:?}");
    }

    #[test]
    fn short_lives_tell_nothing() {
        assert_eq!(lives(359, |second| second).course(), None);
        assert!(lives(361, |second| second).course().is_some());
        assert_eq!(Lives::default().course(), None);
    }

    #[test]
    fn each_life_is_told() {
        let text = lives(3, |second| 50_000_000 + second * 100_000).to_string();
        assert_eq!(text, "0 s 0.0-0.0 MB, 2 s 50.0-50.2 MB");
    }
}
