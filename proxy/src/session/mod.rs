//! One logical connection as plain data: who it is, what it has set, what it may do next.

pub mod auth_exchange;
pub mod login_end;
pub mod login_name;
