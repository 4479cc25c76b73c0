//! What the end-to-end tests are made of: real servers, the real daemon and clients, each as a value that ends what it started.
//!
//! Nothing here links the proxy: tests see what a user sees. Every process dies with the test process, every file lies in one folder
//! under `target/` ([`place`]), and only [`wait`] sleeps.

pub mod capture;
pub mod client;
pub mod cluster;
pub mod config;
pub mod faults;
pub mod frames;
pub mod ha;
pub mod host;
pub mod java;
pub mod mariadb;
pub mod memory;
pub mod mysql;
pub mod netns;
pub mod network;
pub mod offload;
pub mod overrun;
mod packet;
pub mod path;
pub mod pattern;
pub mod place;
pub mod port;
pub mod process;
pub mod python;
pub mod raw_tcp;
pub mod rights;
pub mod seekdb;
pub mod server;
pub mod sluice;
pub mod socket;
pub mod stage;
pub mod tls;
pub mod topology;
pub mod torture;
pub mod tunnel;
pub mod wait;
pub mod wire;
