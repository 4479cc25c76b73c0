//! Logins.

use crate::case::Case;
use anyhow::Result;
use sluice_tests::{path::Stage, server::Kind};

pub(crate) const CASES: &[Case] = &[Case::new("good", good).with(&Kind::ALL)];

fn good(stage: &Stage) -> Result<()> {
    let user = stage.open()?.run("SELECT CURRENT_USER()")?.text()?;
    assert_eq!(user, "app@%");
    Ok(())
}
