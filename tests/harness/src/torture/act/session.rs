//! What a session remembers, and the commands that make it forget.

use crate::torture::{
    client::{Client, equal},
    operation::Leave,
};
use anyhow::Result;

impl Client<'_> {
    pub(in crate::torture) fn set_variable(&mut self, value: u64) -> Result<()> {
        self.connection()?.run(&format!("SET @v = {value}"))?;
        self.session()?.variable = Some(value);
        Ok(())
    }

    pub(in crate::torture) fn look_at_variable(&mut self) -> Result<()> {
        let rows = self.connection()?.run("SELECT @v")?.texts()?;
        let wanted = self.session()?.variable.map(|value| value.to_string());
        equal("@v", &rows, &vec![vec![wanted]])
    }

    pub(in crate::torture) fn set_system(&mut self, value: u64) -> Result<()> {
        let sql = format!("SET SESSION div_precision_increment = {value}");
        self.connection()?.run(&sql)?;
        self.session()?.system = value;
        Ok(())
    }

    pub(in crate::torture) fn look_at_system(&mut self) -> Result<()> {
        let sql = "SELECT @@div_precision_increment";
        let value = self.connection()?.run(sql)?.text()?;
        let wanted = self.session()?.system.to_string();
        equal("the system variable", &value, &wanted)
    }

    pub(in crate::torture) fn reset(&mut self) -> Result<()> {
        self.connection()?.command(&[0x1F])?.outcome.ok()?;
        self.session()?.reset();
        self.look_at_variable()
    }

    pub(in crate::torture) fn change_user(&mut self) -> Result<()> {
        let login = self.login();
        let connection = self.connection()?;
        connection
            .change_user(&login.user, &login.password, "torture")?
            .ok()?;
        let session = self.session()?;
        session.reset();
        session.database = Some("torture");
        self.look_at_database()
    }

    pub(in crate::torture) fn change_database(&mut self, is_first: bool) -> Result<()> {
        let name = if is_first { "torture" } else { "mysql" };
        let payload = [b"\x02", name.as_bytes()].concat();
        self.connection()?.command(&payload)?.outcome.ok()?;
        self.session()?.database = Some(name);
        self.look_at_database()
    }

    fn look_at_database(&mut self) -> Result<()> {
        let rows = self.connection()?.run("SELECT DATABASE()")?.texts()?;
        let wanted = self.session()?.database.map(str::to_owned);
        equal("the database", &rows, &vec![vec![wanted]])
    }

    /// Whatever the session must remember.
    pub(in crate::torture) fn look_at_all(&mut self) -> Result<()> {
        self.look_at_variable()?;
        self.look_at_system()?;
        self.look_at_database()?;
        let rows = self.connection()?.run("SELECT @p")?.texts()?;
        let wanted = self.session()?.piped.map(|value| value.to_string());
        equal("@p", &rows, &vec![vec![wanted]])
    }

    pub(in crate::torture) fn reconnect(&mut self, leave: Leave, eof: bool) -> Result<()> {
        self.look_at_all()?;
        if let Some(session) = self.session.take() {
            super::leave::leave(session.connection, leave)?;
        }
        self.deprecates_eof = eof;
        Ok(())
    }
}
