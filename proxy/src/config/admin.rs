//! The proxy's own administration: `[admin]` of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;

use super::cluster::Secret;

/// Where the password of `root@proxysys` and `inspector@proxysys` is. Without one these logins do not exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminPassword {
    /// In the configuration itself; not empty.
    Text(Secret),
    /// In a file, whose text is the password (a line's end behind it is not part of it). It is read at every such login: who changes it
    /// need not start the daemon anew.
    File(PathBuf),
}

/// `[admin]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTable {
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

impl AdminTable {
    /// What it says, or what is wrong with it.
    pub(super) fn check(&self) -> Result<AdminPassword, String> {
        match (&self.password, &self.password_file) {
            (Some(password), None) if !password.expose().is_empty() => {
                Ok(AdminPassword::Text(password.clone()))
            }
            (Some(_), None) => {
                Err("admin.password is empty: leave [admin] out if nobody shall log in".to_owned())
            }
            (None, Some(file)) if !file.as_os_str().is_empty() => {
                Ok(AdminPassword::File(file.clone()))
            }
            (None, Some(_)) => {
                Err("admin.password_file is empty: give the path of a file".to_owned())
            }
            (Some(_), Some(_)) => Err("admin: give password or password_file, not both".to_owned()),
            (None, None) => Err("admin: give password or password_file".to_owned()),
        }
    }
}
