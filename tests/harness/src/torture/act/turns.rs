//! Statements for one node and for the other, in turn.

use crate::{
    torture::{
        client::{Client, equal},
        operation::Turn,
        tally, text,
        world::{self, Role},
    },
    wire::command as payload,
};
use anyhow::{Result, ensure};

impl Client<'_> {
    pub(in crate::torture) fn turns(&mut self, turns: &[Turn]) -> Result<()> {
        for turn in turns {
            match turn {
                Turn::Node => self.node()?,
                Turn::NodeInTransaction => {
                    let role = world::role_of_writer(self.connection()?)?;
                    equal("who answers in a transaction", &role, &Role::Primary)
                        .map_err(|error| self.is_behind(error))?;
                }
                Turn::Echo(text) => {
                    let value = text.letters();
                    self.round_trip(&[b"SELECT '", &value[..], b"'"].concat(), &value)?;
                }
                Turn::Lead(replica, text) => {
                    let value = text.letters();
                    let node = self.scene.world.replica(*replica)?;
                    let hint = format!("SELECT /*+ ROUTE({node}) */ '");
                    self.round_trip(&[hint.as_bytes(), &value[..], b"'"].concat(), &value)?;
                }
                Turn::EchoAtPrimary(text) => {
                    let mut value = text.letters();
                    let sql = [b"SELECT REVERSE('", &value[..], b"')"].concat();
                    value.reverse();
                    self.round_trip(&sql, &value)?;
                }
            }
        }
        Ok(())
    }

    /// Who answers a read: at the primary is right, too, while there is no other, or it is behind.
    fn node(&mut self) -> Result<()> {
        let role = world::role(self.connection()?)?;
        ensure!(
            self.splits || role == Role::Primary,
            "a read is answered by {role:?}"
        );
        let tally = self.scene.tally;
        match role {
            Role::Replica => tally::count(&tally.at_reader),
            Role::Primary if self.splits => tally::count(&tally.at_writer),
            Role::Primary => {}
        }
        Ok(())
    }

    fn round_trip(&mut self, sql: &[u8], wanted: &[u8]) -> Result<()> {
        let answer = self.connection()?.command(&payload::query(sql))?;
        text::same("the text", &answer.cell()?, wanted)?;
        self.compared(wanted.len());
        Ok(())
    }
}
