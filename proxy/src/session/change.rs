//! What a session's commands have changed of it, and by which versions the server sessions know.

use super::{
    Session, Versions,
    variable::{AUTOCOMMIT, Kind, Value},
};
use crate::sql::assigned::Assigned;
use sluice_ebpf::response::Status;
use std::sync::Arc;

impl Session {
    /// Raises the versions of what has changed; the bound server session has the change already.
    pub fn raise(&mut self, by: Versions) {
        let versions = &mut self.versions;
        versions.hot_sys_var += by.hot_sys_var;
        versions.sys_var += by.sys_var;
        versions.user_var += by.user_var;
        versions.last_insert_id += by.last_insert_id;
        versions.db_name += by.db_name;
        let versions = self.versions;
        if let Some(server) = self.bound_server_mut() {
            server.versions = versions;
        }
    }

    /// The current database is another.
    pub fn change_database(&mut self, name: String) {
        self.db = Some(name);
        self.raise(Versions {
            db_name: 1,
            ..Versions::default()
        });
    }

    /// The value of autocommit, if the session has changed it.
    pub fn know_autocommit(&mut self, is_on: bool) {
        if self.variables.get(Kind::System, AUTOCOMMIT).is_some() {
            let value = Value::Literal(u8::from(is_on).to_string());
            Arc::make_mut(&mut self.variables).read(Kind::System, AUTOCOMMIT, value);
        }
    }

    /// Responses to spliced commands leave the bound server session like this: to be told before [`Session::note_status`]. Autocommit is the one
    /// variable that such commands may have set ([`autocommit`](sluice_ebpf::autocommit)): nobody has read their text.
    pub fn note_autocommit(&mut self, status: Status) {
        let Some(is_on) = status.autocommit() else {
            return;
        };
        // In doubt by what was last heard: what has changed since has, whoever did it.
        let flags = self.bound_server().map(|server| server.status.flags);
        if flags.is_some_and(|flags| (flags & Status::AUTOCOMMIT != 0) != is_on) {
            let changed = Arc::make_mut(&mut self.variables).change(&Assigned {
                system: vec![AUTOCOMMIT.to_owned()],
                ..Assigned::default()
            });
            self.raise(changed);
        }
        self.know_autocommit(is_on);
    }
}
