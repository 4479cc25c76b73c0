//! demo
use anyhow::Result;
/// x
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Exit
    #[arg(long)]
    pub(crate) once: bool,
}
pub(crate) fn run(_: &Arguments) -> Result<()> {
    Ok(())
}
