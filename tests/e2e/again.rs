//! The list of tests, and once more alone what failed in it.
//!
//! Some 2,500 cases share two processors, four at a time, and ask for answers within seconds: one that fails there has met a fault of Sluice's or
//! has been starved. What also fails with the machine to itself fails the run; what then passes is named with what it said, to be looked into.

use crate::Planned;
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use std::{
    collections::BTreeMap,
    env, mem,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

/// More than these failures are no accident, and none of them runs again.
const MOST: usize = 5;

/// What failed, by name, and what it said.
type Failures = Arc<Mutex<BTreeMap<String, String>>>;

/// Runs them all; the code says whether each passed, in the list or alone.
pub(crate) fn run(mut arguments: Arguments, planned: &[Arc<Planned>]) -> ExitCode {
    let (conclusion, failed) = round(&arguments, planned.iter());
    if failed.is_empty()
        || failed.len() > MOST
        || env::var_os("SLUICE_TEST_AGAIN").is_some_and(|it| it == "0")
    {
        return conclusion.exit_code();
    }
    eprintln!(
        "once more, each alone: {}",
        failed.keys().cloned().collect::<Vec<_>>().join(" ")
    );
    arguments.test_threads = Some(1);
    let (conclusion, still) = round(
        &arguments,
        planned.iter().filter(|it| failed.contains_key(&it.name)),
    );
    for (name, said) in failed.iter().filter(|(name, _)| !still.contains_key(*name)) {
        eprintln!("UNSTEADY: {name} passed alone; beside others it said: {said}");
    }
    conclusion.exit_code()
}

/// Runs these once.
fn round<'a>(
    arguments: &Arguments,
    planned: impl Iterator<Item = &'a Arc<Planned>>,
) -> (Conclusion, BTreeMap<String, String>) {
    let failures = Failures::default();
    let trials = planned.map(|it| trial(Arc::clone(it), Arc::clone(&failures)));
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    let failures = mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
    (conclusion, failures)
}

fn trial(planned: Arc<Planned>, failures: Failures) -> Trial {
    Trial::test(planned.name.clone(), move || {
        planned.play().map_err(|error| {
            let said = format!("{error:#}");
            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.insert(planned.name.clone(), said.clone());
            Failed::from(said)
        })
    })
}
