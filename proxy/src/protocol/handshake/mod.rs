//! The greeting of a server and the login packet of a client (the manual, "Connection Phase").

mod greeting;
mod login;
#[cfg(test)]
mod tests;

pub use greeting::{Greeting, SCRAMBLE_LEN};
pub use login::{ATTRIBUTES_MAX, Attributes, LoginPacket, TLS_REQUEST_LEN, attribute_pairs};
