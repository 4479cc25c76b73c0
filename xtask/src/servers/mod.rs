//! Servers and clients that the end-to-end tests use and that come from elsewhere than the machine's own packages. They are kept in
//! the user's cache folder, and the tests find them by environment variables; what cannot be had is left out by name.

mod mysql;
pub(crate) mod python;
mod seekdb;

use crate::place;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Prepares one of them below the cache folder, and returns what the environment variable gets.
type Prepare = fn(&Path) -> Result<PathBuf>;

/// Variable, what it is, how to get it.
const ALL: [(&str, &str, Prepare); 3] = [
    ("SLUICE_TEST_PYTHON", "PyMySQL", python::prepare),
    ("SLUICE_TEST_MYSQL_ROOT", "MySQL 9", mysql::prepare),
    ("SLUICE_TEST_SEEKDB", "OceanBase seekdb", seekdb::prepare),
];

/// What there is to test with.
#[derive(Default)]
pub(crate) struct Found {
    /// Names and values for the environment of the tests.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    /// What cannot be had: the name, and why in one line.
    pub(crate) absent: Vec<(&'static str, String)>,
}

/// Fetches what the cache lacks.
pub(crate) fn prepare() -> Found {
    let cache = place::cache().join("servers");
    let mut found = Found::default();
    for (variable, name, prepare) in ALL {
        let start = Instant::now();
        match prepare(&cache) {
            Ok(path) => {
                if start.elapsed().as_secs() > 0 {
                    println!(
                        "setup: {name}: ready in {:.1} s, kept in {}",
                        start.elapsed().as_secs_f64(),
                        cache.display()
                    );
                }
                found.environment.push((variable, path));
            }
            Err(error) => {
                // A command's own last words say more than how it was called.
                let why = format!("{error:#}");
                found.absent.push((
                    name,
                    why.trim_end().lines().last().unwrap_or_default().to_owned(),
                ));
            }
        }
    }
    found
}
