//! The model: four endpoints, their programs, the hook between them, a network that errs, and the checks. `proxy/fuzz` runs it as well.

mod apps;
mod checks;
mod command;
pub(crate) mod counts;
mod daemon;
pub(crate) mod dice;
mod extremes;
mod hook;
mod packet;
pub(crate) mod session;
mod tcp;
