//! What was seen on a kernel, as a row of a table.

use super::kernels::Unpacked;
use std::time::Duration;

/// The table's head, in Markdown as the rows are.
pub(super) const HEAD: &str = "| kernel | local | wire | defects found | tests passed | failed | torture | kernel's complaints | minutes |
|---|---|---|---|---|---|---|---|---|";

/// What `sluice doctor` says.
pub(super) struct Doctor {
    text: String,
    local: Result<(), String>,
    /// By which hook.
    wire: Result<String, String>,
    defects: Vec<String>,
    complaints: usize,
}

impl Doctor {
    /// Reads its report, one line a finding: its name, two blanks or more, and a text.
    pub(super) fn read(text: &str, complaints: usize) -> Self {
        let found = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        let passed = |name: &str| match found(name) {
            Some(text) if text.starts_with("passed") => Ok(()),
            Some(text) => Err(text.trim_start_matches("failed: ").to_owned()),
            None => Err("not tried".to_owned()),
        };
        let hook = text
            .split_once("lo: covered (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("?", |(hook, _)| hook);
        let defects = text.lines().filter(|line| line.contains("defect"));
        Self {
            local: passed("self-test, local"),
            wire: passed("self-test, wire").map(|()| hook.to_owned()),
            defects: defects.map(words).collect(),
            complaints,
            text: text.to_owned(),
        }
    }

    /// The whole report.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Both paths work.
    ///
    /// # Errors
    /// One does not; why.
    pub(super) fn both_paths(&self) -> Result<(), String> {
        let tell = |path: &str, why: &String| format!("the path {path}: {}", words(why));
        self.local.as_ref().map_err(|why| tell("local", why))?;
        self.wire.as_ref().map_err(|why| tell("wire", why))?;
        Ok(())
    }

    /// Sessions within one host are spliced.
    pub(super) const fn has_local(&self) -> bool {
        self.local.is_ok()
    }

    /// Sessions with a remote end are.
    pub(super) const fn has_wire(&self) -> bool {
        self.wire.is_ok()
    }
}

/// A line with one blank between words.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How the end-to-end tests went.
#[derive(Default)]
pub(super) struct Tests {
    passed: u32,
    failed: u32,
    /// A minute of it; none where it was not asked for.
    torture: Option<Result<(), String>>,
    /// Why there is no result, or not of all.
    trouble: Option<String>,
    complaints: usize,
}

impl Tests {
    /// Reads what the test program has printed.
    pub(super) fn read(
        text: &str,
        code: Option<i32>,
        torture: Option<Result<(), String>>,
        complaints: usize,
    ) -> Self {
        let ended = |end: &str| {
            let tests = text.lines().filter(|line| line.starts_with("test "));
            u32::try_from(tests.filter(|line| line.ends_with(end)).count()).unwrap_or(u32::MAX)
        };
        let (passed, failed) = (ended("... ok"), ended("... FAILED"));
        let trouble = match code {
            Some(0 | 101) if passed + failed != 0 => None,
            Some(code) => Some(format!("the tests ended with {code}")),
            None => Some("the tests did not end".to_owned()),
        };
        Self {
            passed,
            failed,
            torture,
            trouble,
            complaints,
        }
    }

    /// There is no result.
    pub(super) fn none(error: &anyhow::Error) -> Self {
        Self {
            trouble: Some(format!("{error:#}")),
            ..Self::default()
        }
    }
}

/// How the torture ended.
pub(super) fn torture(code: Option<i32>) -> Result<(), String> {
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("ended with {code}")),
        None => Err("did not end".to_owned()),
    }
}

/// A row.
pub(super) struct Row {
    kernel: String,
    /// Whether both paths must work there.
    splices: bool,
    result: Result<(Doctor, Tests, Duration), String>,
}

impl Row {
    /// Of a kernel that doctor, tests and perhaps torture have run on.
    pub(super) fn new(kernel: &Unpacked, doctor: Doctor, tests: Tests, took: Duration) -> Self {
        Self {
            kernel: kernel.release.clone(),
            splices: kernel.splices,
            result: Ok((doctor, tests, took)),
        }
    }

    /// Of a kernel that could not be tested.
    pub(super) fn absent(kernel: &str, error: &anyhow::Error) -> Self {
        Self {
            kernel: kernel.to_owned(),
            splices: false,
            result: Err(format!("{error:#}")),
        }
    }

    /// Whether this is something to look into.
    pub(super) fn is_failure(&self) -> bool {
        match &self.result {
            Ok((doctor, tests, _)) => {
                tests.failed != 0
                    || matches!(tests.torture, Some(Err(_)))
                    || tests.trouble.is_some()
                    || doctor.complaints + tests.complaints != 0
                    || (self.splices && doctor.both_paths().is_err())
            }
            Err(_) => true,
        }
    }

    pub(super) fn text(&self) -> String {
        let (doctor, tests, took) = match &self.result {
            Ok(all) => all,
            Err(why) => return line([&self.kernel, &words(why)]),
        };
        let path = |result: Result<&str, &String>| match result {
            Ok(how) => how.to_owned(),
            Err(why) => format!("relayed: {}", words(why)),
        };
        let defects = if doctor.defects.is_empty() {
            "none".to_owned()
        } else {
            doctor.defects.join("; ")
        };
        let failed = match &tests.trouble {
            Some(trouble) => format!("{} ({})", tests.failed, words(trouble)),
            None => tests.failed.to_string(),
        };
        let torture = match &tests.torture {
            None => "none",
            Some(Ok(())) => "passed",
            Some(Err(why)) => why,
        };
        line([
            &*self.kernel,
            &path(doctor.local.as_ref().map(|()| "yes")),
            &path(doctor.wire.as_deref()),
            &defects,
            &tests.passed.to_string(),
            &failed,
            torture,
            &(doctor.complaints + tests.complaints).to_string(),
            &took.as_secs().div_ceil(60).to_string(),
        ])
    }
}

fn line<const N: usize>(cells: [&str; N]) -> String {
    format!("| {} |", cells.join(" | "))
}
