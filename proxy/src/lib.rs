//! Sluice: a MySQL-protocol proxy whose established sessions move in the kernel. ARCHITECTURE.md is the map of this tree.

pub mod admin;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod gate;
pub mod kernel;
pub mod log;
pub mod net;
pub mod node;
mod pause;
pub mod privilege;
pub mod protocol;
pub mod route;
pub mod session;
pub mod sql;
pub mod worker;
